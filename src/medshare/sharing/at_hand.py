"""The sealed parcels that a station has at hand, and wrapping their keys anew.

Only the file `wrap` beside each envelope changes.  Many are written at once, because each
waits for the disk; none is counted as done before it is durable.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from medshare.disk.atomic import storage_errors, write_file
from medshare.disk.parcels import remove_stale
from medshare.errors import MedshareError, StorageError, UsageError
from medshare.ids import ParcelId
from medshare.sealing import ParcelKey
from medshare.sharing.wrapped import ENVELOPE_FILE, WHAT, WRAP_FILE, encode_wrap
from medshare.station import Station
from medshare.station.tier_keys import TierKeys
from medshare.station.vaults import present_vaults

# Measured on ext4: two fsyncs a file, 1,000 files in 3.9 s alone and 0.5 s on 16 threads.
WRITERS: Final = 16
_RESERVED: Final = 256

OnProgress = Callable[[int, int], None]
"""Called with the number of parcels looked at, and of all."""


def say_nothing(done: int, total: int) -> None:
    """Take no notice of progress: the default listener."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A parcel whose key could not be wrapped anew, and why; what opened it still does."""

    folder: Path
    error: MedshareError


@dataclass(frozen=True, slots=True, repr=False)
class Unwrapped:
    """The key of one parcel, to be wrapped under the KEK of *tier*."""

    parcel: ParcelId
    tier: str
    key: ParcelKey


Look = Callable[[Path], Unwrapped | None]
"""Returns the key of the parcel in a folder if it is to be wrapped anew; raises MedshareError."""


def parcels_at_hand(station: Station, folders: Sequence[Path] = ()) -> list[Path]:
    """Return each folder with a sealed parcel once: of outbox, inbox and vaults, and *folders*.

    Raises UsageError when one of *folders* holds none, StorageError when a vault is not
    there, or something cannot be listed.
    """
    for folder in folders:
        if not (folder / ENVELOPE_FILE).is_file():
            raise UsageError(f"{folder} is not the folder of a sealed parcel")
    boxes = (station.home / "outbox", station.home / "inbox", *present_vaults(station.home))
    return list(_parcels(boxes, folders))


def _parcels(boxes: Sequence[Path], folders: Sequence[Path]) -> Iterator[Path]:
    seen = set()
    for box in boxes:
        with storage_errors("list the parcels at hand"):
            inside = sorted(box.iterdir()) if box.is_dir() else []
        for folder in inside:
            if (folder / ENVELOPE_FILE).is_file():
                seen.add(folder.resolve())
                yield folder
    for folder in folders:
        if folder.resolve() not in seen:
            seen.add(folder.resolve())
            yield folder


def wrap_all(
    parcels: Sequence[Path],
    look: Look,
    tiers: TierKeys,
    *,
    dry_run: bool,
    on_progress: OnProgress = say_nothing,
) -> tuple[int, tuple[Failed, ...]]:
    """Wrap anew what *look* finds, or only count it; return how many, and what failed.

    What fails for one parcel does not hold up the others.  Raises PolicyError when a KEK is
    used up, StorageError when a wrapped key cannot be written; what is done then stays.
    """
    done = 0
    failed = []
    with _Wrapping(tiers, len(parcels)) as wrapping:
        for index, folder in enumerate(parcels):
            on_progress(index, len(parcels))
            try:
                found = look(folder)
            except MedshareError as error:
                failed.append(Failed(folder, error))
                continue
            if not dry_run:
                with suppress(StorageError):  # a stray file is no reason to stop
                    remove_stale(folder)
            if found is not None:
                done += 1
                if not dry_run:
                    wrapping.put(folder, found)
    on_progress(len(parcels), len(parcels))
    return done, tuple(failed)


class _Wrapping:
    """Wraps keys, counted in advance, and writes them; ends when all is durable."""

    def __init__(self, tiers: TierKeys, most: int) -> None:
        self._tiers = tiers
        self._left = most
        self._counted: dict[str, int] = {}
        self._labels: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(WRITERS, "medshare-wrap")
        self._pending: deque[Future[None]] = deque()

    def put(self, folder: Path, found: Unwrapped) -> None:
        """Wrap *found*, and write it into *folder* some time soon."""
        wrapped = self._tiers.wrap_counted(self._label(found.tier), found.key.value)
        octets = encode_wrap(found.parcel, wrapped)
        write = partial(write_file, folder / WRAP_FILE, octets, what=WHAT)
        self._pending.append(self._pool.submit(write))
        while len(self._pending) > 4 * WRITERS:
            self._pending.popleft().result()

    def _label(self, tier: str) -> str:
        """Return the KEK of *tier*, with one use of it counted."""
        label = self._labels.get(tier)
        if label is None:
            label = self._labels[tier] = self._tiers.current(tier) or self._tiers.make_first(tier)
        if not self._counted.get(label):
            self._counted[label] = min(_RESERVED, self._left)
            self._tiers.count(label, self._counted[label])
        self._counted[label] -= 1
        self._left -= 1
        return label

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait until all is written; raise the first failure unless another one is under way."""
        self._pool.shutdown(cancel_futures=error is not None)
        if error is None:
            for one in self._pending:
                one.result()

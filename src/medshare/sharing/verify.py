"""Verify: a sealed parcel without any key, and a received folder against its receipt.

Both say which chunk or which file is wrong, and go on to the end: the report is whole.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar, overload

from medshare.chunk import max_sealed_size
from medshare.digest import Digest
from medshare.disk.checked import Checked, Stamp
from medshare.disk.parcels import ParcelFolder
from medshare.disk.readback import FolderReader
from medshare.envelope import ChunkVerifier, Envelope, check_sealed_manifest, parse_envelope
from medshare.errors import MedshareError
from medshare.ids import ParcelId, StationId
from medshare.receipt import Receipt, ReceivedFile
from medshare.seal import Seal, parse_seal
from medshare.sharing.events import OnEvent, Phase, Planned, ignore
from medshare.sharing.workers import Meter
from medshare.suites import suite_named
from medshare.trust.lineage import require_lawful

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where, what, and the stable code of the error."""

    where: str
    problem: str
    code: str


@dataclass(frozen=True, slots=True)
class ParcelReport:
    """A sealed parcel as it stands in a folder; octets as stored."""

    parcel: ParcelId
    sender: StationId
    suite: str
    chunks: int
    total_bytes: int
    sealed: bool
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class FolderReport:
    """A received folder held against its receipt."""

    receipt: Receipt
    files: int
    total_bytes: int
    faults: tuple[Fault, ...]
    extra: tuple[str, ...]
    """Files in the folder that the receipt does not name."""
    earlier: int = 0
    """Files of these that an earlier run had read, and that have not changed since."""


@overload
def verify(folder: Path, *, on_event: OnEvent = ignore) -> ParcelReport: ...


@overload
def verify(folder: Path, receipt: Receipt, *, on_event: OnEvent = ignore) -> FolderReport: ...


def verify(
    folder: Path, receipt: Receipt | None = None, *, on_event: OnEvent = ignore
) -> ParcelReport | FolderReport:
    """Check a sealed parcel without any key or, given its *receipt*, a received folder.

    See `verify_parcel` and `verify_folder`.
    """
    if receipt is None:
        return verify_parcel(folder, on_event=on_event)
    return verify_folder(folder, receipt, on_event=on_event)


def verify_parcel(folder: Path, *, on_event: OnEvent = ignore) -> ParcelReport:
    """Check a sealed parcel without any key: signatures, digests, completeness.

    Raises FormatError or SignatureError when the envelope itself cannot be believed, for
    then nothing else can be; every other fault is in the report.
    """
    parcel = ParcelFolder(folder)
    envelope = parse_envelope(parcel.read_envelope())
    faults: list[Fault] = []
    _collect(faults, "manifest", lambda: check_sealed_manifest(parcel.read_manifest(), envelope))
    _collect(faults, "lineage", lambda: require_lawful(envelope))
    seal = _collect(faults, "seal", lambda: parse_seal(parcel.read_seal(), envelope))
    meter = Meter(envelope.parcel, on_event)
    meter.begin(total_chunks=envelope.chunk_count, total_bytes=0, chunks=0, plain_bytes=0)
    meter.tell(_planned(envelope, folder))
    check = _ChunkCheck(parcel, envelope, seal, meter)
    found = in_parallel(check, range(envelope.chunk_count))
    faults.extend(fault for fault in found if fault is not None)
    return ParcelReport(
        parcel=envelope.parcel,
        sender=envelope.sender,
        suite=envelope.suite,
        chunks=envelope.chunk_count,
        total_bytes=meter.wire_bytes,
        sealed=seal is not None,
        faults=tuple(faults),
    )


def _planned(envelope: Envelope, folder: Path) -> Planned:
    return Planned(
        parcel=envelope.parcel,
        direction="verify",
        peer="",
        route=f"folder {folder}",
        files=0,
        total_bytes=0,
        total_chunks=envelope.chunk_count,
        resumed_chunks=0,
        resumed_bytes=0,
    )


def _collect(faults: list[Fault], where: str, check: Callable[[], _Found]) -> _Found | None:
    try:
        return check()
    except MedshareError as error:
        faults.append(Fault(where, error.message, error.code))
        return None


class _ChunkCheck:
    """Checks one chunk of a parcel folder; each thread has a buffer of its own."""

    def __init__(
        self, parcel: ParcelFolder, envelope: Envelope, seal: Seal | None, meter: Meter
    ) -> None:
        self._parcel = parcel
        self._size = max_sealed_size(envelope.chunk_size)
        self._verifier = ChunkVerifier(envelope)
        self._seal = seal
        self._meter = meter
        self._local = threading.local()

    def __call__(self, index: int) -> Fault | None:
        buffer = getattr(self._local, "buffer", None)
        if buffer is None:
            buffer = self._local.buffer = memoryview(bytearray(self._size))
        try:
            size = self._parcel.read_chunk(index, buffer)
            record = self._verifier.check(index, buffer[:size])
            if self._seal is not None:
                self._seal.require_chunk(index, record.digest)
        except MedshareError as error:
            return Fault(f"chunk {index}", error.message, error.code)
        self._meter.moved(plain=0, wire=size)
        return None


def verify_folder(
    folder: Path,
    receipt: Receipt,
    *,
    on_event: OnEvent = ignore,
    checked: Checked | None = None,
) -> FolderReport:
    """Check that every file which *receipt* names is in *folder*, unchanged.

    What is in *checked* and has not changed since is not read again.

    The receipt's signatures are checked when it is loaded; whose they are, the caller
    asks `receipts.require_known_signer`.
    """
    meter = Meter(receipt.parcel, on_event)
    meter.tell(Phase(receipt.parcel, "checking"))
    total = sum(file.size for file in receipt.files)
    meter.begin(total_chunks=len(receipt.files), total_bytes=total, chunks=0, plain_bytes=0)
    with FolderReader(folder) as reader:
        check = _FileCheck(reader, receipt, meter, checked)
        faults = [one for one in in_parallel(check, receipt.files) if one is not None]
        named = {file.path for file in receipt.files}
        extra = tuple(path for path in reader.files() if path not in named)
    return FolderReport(
        receipt, len(receipt.files), meter.plain_bytes, tuple(faults), extra, check.earlier
    )


class _FileCheck:
    """Checks one received file against its line in the receipt."""

    def __init__(
        self, reader: FolderReader, receipt: Receipt, meter: Meter, checked: Checked | None
    ) -> None:
        self._reader = reader
        self._suite = suite_named(receipt.suite)
        self._meter = meter
        self._checked = checked
        self._lock = threading.Lock()
        self.earlier = 0
        """How many files were not read again."""

    def __call__(self, file: ReceivedFile) -> Fault | None:
        try:
            with self._reader.opened(file.path) as opened:
                problem = self._problem(file, opened)
        except MedshareError as error:
            return Fault(file.path, error.message, error.code)
        if problem:
            return Fault(file.path, problem, _CHANGED)
        self._meter.moved(plain=file.size, wire=0)
        return None

    def _problem(self, file: ReceivedFile, opened: int) -> str | None:
        """Return how the file differs from what was received."""
        stamp = Stamp.of(opened)
        if stamp.size == file.size and self._checked and self._checked.has(stamp, file.digest):
            with self._lock:
                self.earlier += 1
            return None
        hasher = self._suite.hasher()
        size = self._reader.feed(opened, hasher)
        if size != file.size:
            return f"has {size} bytes instead of {file.size}"
        if Digest(hasher.digest()) != file.digest:
            return "differs from what was received"
        if self._checked and Stamp.of(opened) == stamp:
            self._checked.note(stamp, file.digest)
        return None


_CHANGED: Final = "integrity.digest"


def in_parallel(check: Callable[[_Item], _Found], items: Sequence[_Item]) -> Iterable[_Found]:
    """Yield what *check* finds for each item, in order, computed on a few threads."""
    size = min(os.cpu_count() or 1, 8)
    with ThreadPoolExecutor(size) as pool:
        pending = deque(pool.submit(check, item) for item in items[: 4 * size])
        for item in items[4 * size :]:
            yield pending.popleft().result()
            pending.append(pool.submit(check, item))
        while pending:
            yield pending.popleft().result()

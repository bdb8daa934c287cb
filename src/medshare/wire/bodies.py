"""The small bodies on the wire and the queries: one encoding each (protocol §5)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from medshare import canonical
from medshare.canonical import Fields
from medshare.chunk import SIGNATURE_SIZE
from medshare.chunking import MAX_CHUNKS
from medshare.digest import DIGEST_SIZE, Digest
from medshare.envelope import MAX_RECIPIENTS, ChunkRecord
from medshare.errors import FormatError
from medshare.ids import PARCEL_ID_SIZE, STATION_ID_SIZE, ParcelId, StationId
from medshare.wire.routes import MAX_WAIT

INBOX_PAGE: Final = 256

_RECORD_SIZE: Final = 4 + DIGEST_SIZE + SIGNATURE_SIZE
_INDEX_SIZE: Final = 4
_SMALL: Final = 4096
MAX_STATE: Final = (
    MAX_CHUNKS * (_RECORD_SIZE + _INDEX_SIZE) + MAX_RECIPIENTS * STATION_ID_SIZE + _SMALL
)
MAX_INBOX: Final = INBOX_PAGE * PARCEL_ID_SIZE + _SMALL
MAX_ANNOUNCED: Final = MAX_RECIPIENTS * STATION_ID_SIZE + _SMALL
MAX_PLACE: Final = 10**15

_TAG: Final = re.compile(r"[0-9a-z.-]{1,64}")
_STATE_QUERY: Final = re.compile(
    rf"(?:known=(?P<known>{_TAG.pattern})&)?wait=(?P<wait>0|[1-9][0-9]?)"
)
_INBOX_QUERY: Final = re.compile(
    r"after=(?P<after>0|[1-9][0-9]{0,14})(?:&wait=(?P<wait>[1-9][0-9]?))?"
)


@dataclass(frozen=True, slots=True)
class State:
    """What the relay holds of one parcel, whole or as the difference to an earlier state."""

    tag: str
    """Names this state; opaque to clients."""
    since: str
    """The tag of the state that `chunks` adds to; empty when they are all there are."""
    manifest: bool
    sealed: bool
    chunks: tuple[ChunkRecord, ...]
    receipts: tuple[StationId, ...]
    wanted: tuple[int, ...]


def state_query(*, known: str = "", wait: int = 0) -> str:
    """Return the query that waits up to *wait* seconds for a state other than *known*."""
    return f"known={known}&wait={wait}" if known else f"wait={wait}"


def parse_state_query(query: str) -> tuple[str, int]:
    """Return the tag (perhaps empty) and the seconds; raise FormatError otherwise."""
    found = _STATE_QUERY.fullmatch(query)
    if found is None or int(found["wait"]) > MAX_WAIT:
        raise FormatError("the query of a state request is malformed")
    return found["known"] or "", int(found["wait"])


def inbox_query(after: int, *, wait: int = 0) -> str:
    """Return the query for the page of the inbox that begins behind place *after*.

    With *wait*, the answer may take so many seconds while there is nothing on that page.
    """
    return f"after={after}&wait={wait}" if wait else f"after={after}"


def parse_inbox_query(query: str) -> tuple[int, int]:
    """Return the place that a page begins behind, and the seconds; raise FormatError otherwise."""
    found = _INBOX_QUERY.fullmatch(query)
    if found is None or int(found["wait"] or 0) > MAX_WAIT:
        raise FormatError("the query of an inbox request is malformed")
    return int(found["after"]), int(found["wait"] or 0)


def encode_state(state: State) -> bytes:
    """Return the body of the answer that tells *state*."""
    return canonical.encode(
        {
            "chunks": b"".join(
                record.index.to_bytes(_INDEX_SIZE) + record.digest.value + record.signature
                for record in state.chunks
            ),
            "manifest": int(state.manifest),
            "receipts": b"".join(state.receipts),
            "sealed": int(state.sealed),
            "since": state.since,
            "tag": state.tag,
            "wanted": encode_indexes(state.wanted),
        }
    )


def decode_state(data: bytes) -> State:
    """Return the state in *data*; raise FormatError when it is malformed."""
    what = "the relay's state of a parcel"
    fields = Fields(canonical.decode(data, limit=MAX_STATE, what=what), what=what)
    receipts = fields.octets("receipts", maximum=MAX_RECIPIENTS * STATION_ID_SIZE)
    state = State(
        tag=_tag(fields.text("tag", maximum=64)),
        since=_tag(fields.text("since", maximum=64), or_empty=True),
        manifest=bool(fields.uint("manifest", maximum=1)),
        sealed=bool(fields.uint("sealed", maximum=1)),
        chunks=_records(fields.octets("chunks", maximum=MAX_CHUNKS * _RECORD_SIZE)),
        receipts=tuple(StationId(part) for part in _parts(receipts, STATION_ID_SIZE)),
        wanted=decode_indexes(fields.octets("wanted", maximum=MAX_CHUNKS * _INDEX_SIZE)),
    )
    fields.finish()
    return state


def _tag(text: str, *, or_empty: bool = False) -> str:
    if _TAG.fullmatch(text) or (or_empty and not text):
        return text
    raise FormatError("the tag of a state is malformed")


def _records(data: bytes) -> tuple[ChunkRecord, ...]:
    middle = _INDEX_SIZE + DIGEST_SIZE
    records = tuple(
        ChunkRecord(
            int.from_bytes(part[:_INDEX_SIZE]), Digest(part[_INDEX_SIZE:middle]), part[middle:]
        )
        for part in _parts(data, _RECORD_SIZE)
    )
    _require_ascending([record.index for record in records])
    return records


def encode_inbox(parcels: Sequence[ParcelId], *, following: int) -> bytes:
    """Return one page of an inbox; *following* is where the next one begins, 0 for none."""
    return canonical.encode({"next": following, "parcels": b"".join(parcels)})


def decode_inbox(data: bytes) -> tuple[tuple[ParcelId, ...], int]:
    """Return the parcels of a page, and where the next one begins (0: there is none)."""
    what = "the relay's inbox"
    fields = Fields(canonical.decode(data, limit=MAX_INBOX, what=what), what=what)
    following = fields.uint("next", maximum=MAX_PLACE)
    listing = fields.octets("parcels", maximum=INBOX_PAGE * PARCEL_ID_SIZE)
    fields.finish()
    return tuple(ParcelId(part) for part in _parts(listing, PARCEL_ID_SIZE)), following


@dataclass(frozen=True, slots=True)
class Announced:
    """The answer to an envelope."""

    manifest: bool
    """Whether the manifest is there already."""
    absent: tuple[StationId, ...] = ()
    """Recipients of the envelope that are not enrolled, and so cannot fetch the parcel."""


def encode_announced(announced: Announced) -> bytes:
    """Return the body of the answer to an envelope."""
    absent = b"".join(announced.absent)
    return canonical.encode({"absent": absent, "manifest": int(announced.manifest)})


def decode_announced(data: bytes) -> Announced:
    """Return the answer to an envelope in *data*; raise FormatError when it is malformed."""
    what = "the relay's answer to an envelope"
    fields = Fields(canonical.decode(data, limit=MAX_ANNOUNCED, what=what), what=what)
    absent = fields.octets("absent", maximum=MAX_RECIPIENTS * STATION_ID_SIZE)
    manifest = fields.uint("manifest", maximum=1)
    fields.finish()
    stations = tuple(StationId(part) for part in _parts(absent, STATION_ID_SIZE))
    return Announced(bool(manifest), stations)


def encode_indexes(indexes: Sequence[int]) -> bytes:
    """Return ascending chunk indexes, 4 octets each."""
    return b"".join(index.to_bytes(_INDEX_SIZE) for index in indexes)


def decode_indexes(data: bytes) -> tuple[int, ...]:
    """Return the chunk indexes in *data*; raise FormatError unless they ascend."""
    indexes = [int.from_bytes(part) for part in _parts(data, _INDEX_SIZE)]
    _require_ascending(indexes)
    return tuple(indexes)


def _parts(data: bytes, size: int) -> list[bytes]:
    if len(data) % size:
        raise FormatError("a list on the wire is cut off")
    return [data[at : at + size] for at in range(0, len(data), size)]


def _require_ascending(indexes: Sequence[int]) -> None:
    if any(a >= b for a, b in pairwise(indexes)):
        raise FormatError("chunk indexes on the wire do not ascend")
    if indexes and indexes[-1] >= MAX_CHUNKS:
        raise FormatError("a chunk index on the wire is larger than the format allows")

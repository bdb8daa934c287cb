"""What an operator may set, and the bounds that hold whoever asks."""

from dataclasses import dataclass
from typing import Final

from medshare.chunking import MAX_CHUNKS
from medshare.httpsig import MAX_SKEW
from medshare.relay.guard import ServerLimits
from medshare.wire.routes import ROUTES

BATCH: Final = 1 << 20
"""Octets of a body that are gathered in memory before they are hashed and written."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one relay; octets are those of ciphertext, None means no bound."""

    total_bytes: int | None = None
    station_bytes: int | None = None
    """Octets of all parcels of one sender."""
    parcel_bytes: int | None = None
    parcel_chunks: int = MAX_CHUNKS
    keep_seconds: int | None = None
    """For how long a sender may ask to keep a parcel."""
    open_parcels: int = 64
    """Parcels of one sender that have no seal yet."""
    requests: int = 512
    """Requests that are answered at once."""
    station_requests: int = 64
    """Of these, by one station."""
    uploads: int = 32
    """Bodies that arrive at once; each holds up to `BATCH` octets of memory."""
    station_uploads: int = 16
    max_skew: int = MAX_SKEW
    workers: int = 4
    """Threads that touch the disk."""
    sweep_seconds: float = 60.0
    """Seconds between two looks for expired parcels."""
    gather_seconds: float = 0.1
    """Seconds for which news of chunks is gathered before it is told."""


def server_limits() -> ServerLimits:
    """Return what the server allows before anybody is known: no body that no route takes."""
    return ServerLimits(max_body=max(route.limit for route in ROUTES), grace_seconds=3.0)

"""Who uses how much: room is reserved before a body is read, and given back if it fails."""

import threading
from collections import Counter

from medshare.errors import RelayRefusedError
from medshare.ids import ParcelId, StationId
from medshare.relay.settings import Limits
from medshare.wire import problems


class Ledger:
    """Octets stored and reserved: in all, by sender, by parcel.  Safe to share."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._total = 0
        self._stations: Counter[StationId] = Counter()
        self._parcels: Counter[ParcelId] = Counter()

    def set_limits(self, limits: Limits) -> None:
        """Let other quotas hold from now on."""
        with self._lock:
            self._limits = limits

    def take(self, sender: StationId, parcel: ParcelId, octets: int) -> None:
        """Reserve *octets*; raise RelayRefusedError when that goes beyond a quota."""
        with self._lock:
            for used, bound, whose in (
                (self._parcels[parcel], self._limits.parcel_bytes, "one parcel"),
                (self._stations[sender], self._limits.station_bytes, "one sender"),
                (self._total, self._limits.total_bytes, "all parcels together"),
            ):
                if bound is not None and used + octets > bound:
                    raise RelayRefusedError(
                        f"the room that this relay has for {whose} is used up",
                        code=problems.QUOTA,
                    )
            self._add(sender, parcel, octets)

    def enter(self, sender: StationId, parcel: ParcelId, octets: int) -> None:
        """Count what is there already, beyond a quota or not."""
        with self._lock:
            self._add(sender, parcel, octets)

    def give_back(self, sender: StationId, parcel: ParcelId, octets: int) -> None:
        """Count *octets* no more."""
        with self._lock:  # never more than there is: the parcel may have been forgotten
            self._add(sender, parcel, -min(octets, self._parcels[parcel]))

    def forget(self, sender: StationId, parcel: ParcelId) -> None:
        """Count nothing of *parcel* any more."""
        with self._lock:
            self._add(sender, parcel, -self._parcels[parcel])

    def used(self, sender: StationId | None = None) -> int:
        """Return the octets of *sender*, or of all."""
        with self._lock:
            return self._total if sender is None else self._stations[sender]

    def _add(self, sender: StationId, parcel: ParcelId, octets: int) -> None:
        self._total += octets
        self._stations[sender] += octets
        self._parcels[parcel] += octets
        if not self._stations[sender]:
            del self._stations[sender]
        if not self._parcels[parcel]:
            del self._parcels[parcel]

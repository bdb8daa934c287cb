"""What an order of the administrators does at the relay, and what stands in its way.

Nothing here opens a parcel: an order names stations and parcels, and no key of any.
"""

from contextlib import suppress
from dataclasses import replace

from medshare.errors import (
    FormatError,
    MedshareError,
    NotFoundError,
    RelayRefusedError,
    UsageError,
)
from medshare.relay.access import AccessOffice
from medshare.relay.admin_store import AdminStore
from medshare.relay.enrolment import Stations, enrolled
from medshare.relay.parcels import Parcels
from medshare.relay.profiles import parse_profile
from medshare.relay.settings import Limits
from medshare.trust.charter import Charter
from medshare.trust.orders import Action, Administrator, Order
from medshare.trust.quorum import Member, require_workable
from medshare.wire import problems


class RelayEffects:
    """Carries orders out at one relay; see `relay.administration.Effects`."""

    def __init__(
        self,
        store: AdminStore,
        stations: Stations,
        office: AccessOffice,
        parcels: Parcels,
        limits: Limits,
    ) -> None:
        self._store = store
        self._stations = stations
        self._office = office
        self._parcels = parcels
        self._limits = limits

    def check(self, order: Order, charter: Charter) -> None:
        """Raise what stands in the way of *order* now; change nothing."""
        match order.action:
            case Action.ENROLL:
                self._check_card(order)
                self._check_profile(order)
            case Action.REMOVE | Action.SET_PROFILE:
                self._check_station(order, charter)
                self._check_profile(order)
            case Action.DELETE:
                self._check_parcel(order)
                self._parcels.holds.require_none(order.parcel)
            case Action.HOLD | Action.RELEASE_HOLD | Action.WITHDRAW_GRANT:
                self._check_parcel(order)
            case Action.SET_ADMINISTRATORS:
                self._check_administrators(order)
            case Action.SET_POLICY:
                pass

    def apply(self, order: Order, proposal: bytes, charter: Charter) -> None:
        """Let *order* be carried out, durably; doing it again changes nothing more."""
        match order.action:
            case Action.ENROLL if order.card is not None:
                self._set_profile(order)  # first, so that nobody gets in without it
                self._enroll(Administrator(order.card))
            case Action.REMOVE:
                self._remove(order)
            case Action.SET_PROFILE:
                self._set_profile(order)
            case Action.WITHDRAW_GRANT:
                with self._parcels.lock(order.parcel):
                    self._parcels.grants.withdraw_by_order(order.parcel, order.station, proposal)
            case Action.DELETE:
                self._parcels.destroy(order.parcel)
            case Action.HOLD:
                with self._parcels.lock(order.parcel):
                    self._parcels.holds.set(order.parcel, proposal)
            case Action.RELEASE_HOLD:
                self._parcels.holds.release(order.parcel)
            case Action.SET_POLICY:
                self._store.put_settings(dict(order.settings))
                self.take_settings()
            case Action.SET_ADMINISTRATORS:
                self._replace_administrators(order, proposal, charter)
            case _:
                raise _unsupported(order)

    def take_settings(self) -> None:
        """Let the policy of the administrators hold, and for the rest what was started with."""
        self._parcels.set_limits(governed(self._limits, self._store.settings()))

    # --- stations ------------------------------------------------------------------------

    def _check_card(self, order: Order) -> None:
        if order.card is None:
            raise _unsupported(order)
        enrolled_before = self._stations.find(order.card.station.hex())
        try:
            enrolled(order.card)
        except UsageError as error:
            raise RelayRefusedError(error.message, code=problems.ORDER) from error
        if enrolled_before is not None and not order.card.continues(enrolled_before.card):
            raise RelayRefusedError(
                "the card does not continue the one that is enrolled", code=problems.CONFLICT
            )

    def _check_station(self, order: Order, charter: Charter) -> None:
        if self._stations.find(order.station.hex()) is None:
            raise NotFoundError("no such station is enrolled at this relay")
        if order.action is Action.REMOVE and charter.administrator(order.station) is not None:
            raise RelayRefusedError(
                "an administrator is not removed while he is one; set other administrators first",
                code=problems.ORDER,
            )

    @staticmethod
    def _check_profile(order: Order) -> None:
        try:
            if order.profile:
                parse_profile(order.profile)
        except FormatError as error:
            raise RelayRefusedError(
                "the profile is none that this relay knows", code=problems.ORDER
            ) from error

    def _set_profile(self, order: Order) -> None:
        if order.profile:
            self._office.carry_out(order.subject, parse_profile(order.profile))

    def _remove(self, order: Order) -> None:
        with suppress(NotFoundError):  # then it was done before the crash
            self._stations.remove(order.station)
        self._office.forget(order.station)

    def _enroll(self, one: Administrator) -> None:
        found = self._stations.find(one.card.station.hex())
        if found is None or not found.card.continues(one.card):
            self._stations.enroll(one.card)

    # --- parcels -------------------------------------------------------------------------

    def _check_parcel(self, order: Order) -> None:
        row = self._parcels.row(order.parcel)
        if row is None:
            raise NotFoundError("there is no such parcel at this relay")
        if row.gone is not None:
            raise RelayRefusedError("the parcel was removed, or has expired", code=problems.GONE)
        if order.action is Action.RELEASE_HOLD and order.parcel not in self._parcels.holds:
            raise NotFoundError("the parcel is not held")

    # --- administrators ------------------------------------------------------------------

    def _check_administrators(self, order: Order) -> None:
        members = [Member(one.card.station, one.person) for one in order.administrators]
        try:
            require_workable(members, order.need)
            for one in order.administrators:
                enrolled(one.card)
        except UsageError as error:
            raise RelayRefusedError(error.message, code=problems.ORDER) from error

    def _replace_administrators(self, order: Order, proposal: bytes, charter: Charter) -> None:
        if charter.made_by == proposal:
            return  # it was done before the crash
        for one in order.administrators:
            self._enroll(one)
        self._store.put_charter(
            charter.following(order.administrators, order.need, proposal=proposal)
        )


def governed(limits: Limits, settings: dict[str, int]) -> Limits:
    """Return *limits* with what the administrators have set in their place."""
    return replace(
        limits,
        total_bytes=settings.get("total_bytes", limits.total_bytes),
        station_bytes=settings.get("station_bytes", limits.station_bytes),
        parcel_bytes=settings.get("parcel_bytes", limits.parcel_bytes),
        open_parcels=settings.get("open_parcels", limits.open_parcels),
        keep_seconds=settings.get("keep_seconds", limits.keep_seconds),
    )


def _unsupported(order: Order) -> MedshareError:
    return RelayRefusedError(f"this relay does not carry out '{order.action}'", code=problems.ORDER)

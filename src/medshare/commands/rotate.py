"""`medshare rotate-key`: keys replaced on schedule, on request, or because others may have them."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from medshare.commands.lines import Output
from medshare.commands.opening import open_station
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.commands.unlock import passphrase_option, unlock_keystore
from medshare.errors import IntegrityError, MedshareError, UsageError
from medshare.station.key_book import IDENTITY

if TYPE_CHECKING:
    from medshare.config import Settings
    from medshare.keys.base import KeyStore
    from medshare.sharing.at_hand import Failed
    from medshare.station import Station
    from medshare.station.backups import KnownBackup

_PAUSE: Final = 1.0


class Date(click.ParamType[int]):
    """A day or a moment in UTC: `2026-11-24`, or `2026-11-24T20:48`."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return seconds since 1970 UTC."""
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a date such as 2026-11-24", param, ctx)
        seconds = int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())
        if seconds < 0:
            self.fail(f"{value!r} is before 1970", param, ctx)
        return seconds


@dataclass(frozen=True, slots=True)
class Choice:
    """Which keys are to be replaced; nothing said means the identity."""

    tiers: tuple[str, ...]
    identity: bool
    everything: bool
    due: bool
    compromised: str | None
    suite: str | None = None

    def require_one(self) -> None:
        """Raise UsageError when what was asked for contradicts itself."""
        asked = [bool(self.tiers or self.identity), self.everything, self.due]
        if sum([*asked, self.compromised is not None]) > 1:
            raise UsageError(
                "say either which keys (--tier, --identity), --all, --due, or --compromised"
            )
        new_identity = self.identity or self.everything or not (self.tiers or self.due)
        if self.suite is not None and (not new_identity or self.compromised is not None):
            raise UsageError("--suite says of which suite new identity keys are: add --identity")


@click.command(
    "rotate-key",
    epilog=examples(
        """
        medshare rotate-key --due --quiet          # for cron: what the policy says is due
        medshare rotate-key --tier sensitive       # a new key for one tier
        medshare rotate-key --all --dry-run        # what would be done
        medshare rotate-key                        # new identity keys
        medshare rotate-key --identity --suite gm+intl      # of another suite, or of both
        medshare rotate-key /archive/2026/*        # with sealed parcels that lie elsewhere
        medshare rotate-key --compromised identity --since 2026-11-20 --reason 'laptop stolen'
        """
    ),
)
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--tier", "tiers", multiple=True, metavar="TIER", help="The key of this tier.")
@click.option("--identity", is_flag=True, help="The keys of this station itself.  [default]")
@click.option("--all", "everything", is_flag=True, help="The keys of all tiers, and the identity.")
@click.option(
    "--suite",
    type=click.Choice(["intl", "gm", "gm+intl"]),
    help="Of which suite the new identity keys are.  [default: as before]",
)
@click.option("--due", is_flag=True, help="Those that the policy says are due; perhaps none.")
@click.option(
    "--compromised",
    metavar="KEY",
    help="Others may have KEY (a tier, a key's name, or identity): revoke it, re-encrypt.",
)
@click.option("--since", type=Date(), metavar="DATE", help="Since when they may have it.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the history of this station.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@passphrase_option
@output_options
def rotate_key(
    folders: tuple[Path, ...],
    dry_run: bool,
    passphrase_file: Path | None,
    mode: Mode,
    since: int | None,
    reason: str,
    **asked: Any,
) -> None:
    """Replace keys of this station.

    Not a byte of ciphertext is touched: parcels in outbox, inbox and vaults, and sealed
    parcels in FOLDERS, have their key wrapped anew. An interrupted rotation is completed by
    the next run. New identity keys are signed by the old ones, so contacts can import the
    new card without comparing a fingerprint again, also where --suite changes the suite.

    With --compromised, the key is revoked as well, and the content of vaults is sealed anew
    under fresh keys, with the old ciphertext destroyed.
    """
    choice = Choice(**asked)
    choice.require_one()
    if choice.compromised is None and (since is not None or reason):
        raise UsageError("--since and --reason belong to --compromised")
    settings, station = open_station()
    if choice.due and not _due(station, None):
        _nothing_due(mode)
        return
    store = unlock_keystore(station, settings, file=passphrase_file)
    task = Task(settings, station, store, mode, folders, dry_run, since or 0, reason, choice.suite)
    if choice.compromised is not None:
        task.compromised(choice.compromised)
        return
    tiers, identity = _chosen(choice, station, store)
    if not tiers and not identity:
        _nothing_due(mode)
        return
    task.rotate(tiers, identity=identity)


def _due(station: "Station", store: "KeyStore | None") -> list[str]:
    """Return the tiers, and `identity`, that are due; without *store* by the history."""
    from medshare.station.due import due_keys, keks_of_history, keks_of_store
    from medshare.station.key_book import HISTORY_FILE, KeyBook

    if store is None and not (station.home / HISTORY_FILE).exists():
        return ["unknown"]
    keks = keks_of_history(KeyBook(station.home)) if store is None else keks_of_store(store)
    return [one.key for one in due_keys(station, keks, now=int(time.time()))]


def _chosen(choice: Choice, station: "Station", store: "KeyStore") -> tuple[list[str], bool]:
    """Return the tiers to rotate, and whether the identity is to be."""
    if choice.everything:
        return [one.name for one in station.policy.tiers], True
    if choice.due:
        due = _due(station, store)
        return [one for one in due if one != IDENTITY], IDENTITY in due
    for tier in choice.tiers:
        station.policy.tier(tier)
    return list(choice.tiers), choice.identity or not choice.tiers


def _nothing_due(mode: Mode) -> None:
    """Say nothing to people: cron would send it by mail."""
    if mode.json:
        choose(mode).result({"event": "nothing_due"}, lambda: "")


@dataclass(frozen=True, slots=True)
class Task:
    """A rotation that was asked for."""

    settings: "Settings"
    station: "Station"
    store: "KeyStore"
    mode: Mode
    folders: tuple[Path, ...]
    dry_run: bool
    since: int
    reason: str
    suite: str | None

    def rotate(self, tiers: Sequence[str], *, identity: bool) -> None:
        """Rotate *tiers*, then the identity; name what failed at the end.

        An identity that changes its suite comes first, as the keys of tiers follow it.
        """
        failed: list[Failed] = []
        if self.suite is not None:
            failed += self._identity()
        if tiers:
            failed += self._tiers(tiers)
        if identity and self.suite is None:
            failed += self._identity()
        self._require_none(failed)

    def _tiers(self, tiers: Sequence[str]) -> "Sequence[Failed]":
        from medshare.commands import rotate_views
        from medshare.sharing.rotate_tiers import Scope, rotate_tiers

        with choose(self.mode) as out:
            rotations = rotate_tiers(
                self.station,
                self.store,
                tiers,
                now=int(time.time()),
                scope=Scope(self.folders),
                dry_run=self.dry_run,
                on_progress=steps(out),
            )
        stale = self._stale()
        out.result(
            rotate_views.tiers_record(rotations, stale, dry_run=self.dry_run),
            lambda: rotate_views.tiers(rotations, stale, dry_run=self.dry_run),
        )
        return rotations.failed

    def _identity(self) -> "Sequence[Failed]":
        from medshare.commands import station_views
        from medshare.sharing.rotate import rotate_identity

        with choose(self.mode) as out:
            rotation = rotate_identity(
                self.station,
                self.store,
                now=int(time.time()),
                folders=self.folders,
                suite=self.suite,
                dry_run=self.dry_run,
                on_progress=steps(out),
            )
        out.result(
            station_views.rotation_record(rotation, dry_run=self.dry_run),
            lambda: station_views.rotated(rotation, dry_run=self.dry_run),
        )
        return rotation.failed

    def _stale(self) -> "Sequence[KnownBackup]":
        """Return the backups that hold keys which should be gone."""
        from medshare.station.backups import stale_backups
        from medshare.station.key_book import KeyBook

        return stale_backups(KeyBook(self.station.home))

    def _require_none(self, failed: "Sequence[Failed]") -> None:
        if failed:
            raise IntegrityError(
                f"the keys of {len(failed)} of the parcels at hand could not be wrapped anew",
                hint="what opens them is kept, and the rotation is complete for all others",
            )

    def compromised(self, key: str) -> None:
        """Revoke *key* and do what follows from that."""
        from medshare.commands import rotate_views
        from medshare.station.vaults import present_vaults
        from medshare.vault.compromise import Report, compromised
        from medshare.vault.store import Vault

        report = Report(key, int(time.time()), self.reason, self.since)
        vaults = [Vault(root, self.station) for root in present_vaults(self.station.home)]
        with choose(self.mode) as out:
            incident = compromised(
                self.station,
                self.store,
                vaults,
                report,
                dry_run=self.dry_run,
                on_resealed=amounts(out),
            )
        told = incident.identity is not None and not self.dry_run and self._tell_relay()
        stale = self._stale()
        out.result(
            rotate_views.incident_record(incident, stale, dry_run=self.dry_run, relay_told=told),
            lambda: rotate_views.incident(incident, stale, dry_run=self.dry_run, relay_told=told),
        )
        if incident.failed:
            raise IntegrityError(
                f"{len(incident.failed)} parcels could not be sealed or wrapped anew",
                hint="run this again when they are mended, or remove them: medshare vault remove",
            )

    def _tell_relay(self) -> bool:
        """Bring the relay that is configured the new card, and with it the revocation."""
        from medshare.commands.showing import shown_at
        from medshare.transport.relay import RelayTransport

        if self.settings.relay is None:
            return False
        try:
            identity = self.station.identity(self.store)
            relay, shown = self.settings.relay, shown_at(self.settings.relay, self.settings)
            transport = RelayTransport(relay, identity, ca_file=self.settings.relay_ca, shown=shown)
            with closing(transport):
                transport.put_card(identity.card.encoded)
        except MedshareError:
            return False
        return True


def steps(out: Output) -> Callable[[int, int], None]:
    """Return a listener that says each tenth of a long rotation."""
    said = 0

    def on_progress(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // total if total >= 100 else 0
        if tenth > said:
            said = tenth
            out.say(f"{done:,} of {total:,} parcels looked at")

    return on_progress


def amounts(out: Output) -> Callable[[int, int, int], None]:
    """Return a listener that says, every second, how much was sealed anew."""
    from medshare.commands import text

    said = time.monotonic()

    def on_resealed(done: int, total: int, octets: int) -> None:
        nonlocal said
        if time.monotonic() - said >= _PAUSE:
            said = time.monotonic()
            out.say(f"{done:,} of {total:,} parcels sealed anew, {text.size(octets)}")

    return on_resealed

"""A compromised key: revoked, content sealed anew, and proof that the old key opens nothing."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from medshare.disk.parcels import ParcelFolder
from medshare.envelope import parse_envelope
from medshare.errors import (
    KeyUnavailableError,
    MedshareError,
    RelayUnavailableError,
    RevokedError,
    UsageError,
)
from medshare.ids import ParcelId
from medshare.sealing import ParcelKey, require_commitment, unwrap_parcel_key
from medshare.sharing.wrapped import WRAP_FILE, read_envelope, read_wrap
from medshare.station import Station
from medshare.station.key_book import Happened, KeyBook
from medshare.vault.compromise import Incident, Report, compromised
from medshare.vault.listing import VaultEntry, find_in_vault, list_vault
from medshare.vault.opening import open_from_vault
from medshare.vault.store import Vault
from tests.fault import Killed, count_changes, killed_at
from tests.people import Person
from tests.sharing_case import Breaking
from tests.test_vault import FAR_FUTURE
from tests.test_vault import Case as VaultCase

NOW = FAR_FUTURE


class Case(VaultCase):
    """A station with a vault: one parcel received, two of its own in different tiers."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.received = self.send().parcel
        self.keep(self.received)
        self.own = self.add()
        self.sensitive = self.add("sensitive")

    def thief(self) -> "Thief":
        """Return somebody with a copy of the keystore, its passphrase, and all that lies about."""
        copy = self.tmp / "thief"
        shutil.copytree(self.b.station.home, copy / "home")
        return Thief(Person(Station.open(copy / "home"), self.b.backend))

    def report(self, key: str, *, dry_run: bool = False, since: int = 0) -> Incident:
        """Report *key* as compromised, as another process would."""
        self.renewed()
        report = Report(key, NOW, "stolen laptop", since)
        store = self.b.station.keystore_with(self.b.backend)
        return compromised(self.b.station, store, [self.vault], report, dry_run=dry_run)

    def require_all_open(self) -> None:
        """Fail unless every parcel of the vault opens, each content once."""
        self.renewed()
        for number, parcel in enumerate((self.received, self.own, self.sensitive)):
            self.open(find_in_vault(self.vault, parcel), f"opened-{number}")
            shutil.rmtree(self.tmp / f"opened-{number}")
        assert len(self.vault.parcels()) == 3
        names = [one.name for one in self.vault.root.iterdir() if one.name.startswith((".n", ".g"))]
        assert names == []

    def history(self) -> list[tuple[str, str]]:
        """Return what happened to which key, oldest first."""
        return [(one.what, one.key) for one in KeyBook(self.b.station.home).entries()]

    def entries(self) -> list[VaultEntry]:
        """Return what is in the vault."""
        return [one for one in list_vault(self.vault) if isinstance(one, VaultEntry)]


class Thief:
    """Somebody who tries every key of an old keystore on everything."""

    def __init__(self, person: Person) -> None:
        self.identity = self._identity = person.identity
        assert self._identity.tiers is not None
        self._tiers = self._identity.tiers
        self._labels = [kek.label for kek in self._tiers.all()]

    def opens(self, folder: Path, labels: Callable[[str], bool] = lambda label: True) -> bool:
        """Tell whether one of the keys opens the parcel in *folder*, as it lies there now."""
        envelope = read_envelope(folder)
        try:
            unwrap_parcel_key(envelope, self._identity.station, self._identity.openers)
        except MedshareError:
            return self.opens_wrap(folder, labels)
        return True

    def opens_wrap(self, folder: Path, labels: Callable[[str], bool] = lambda label: True) -> bool:
        """Tell whether one of the KEKs opens the wrapped key beside the parcel in *folder*."""
        wrap = read_wrap(folder)
        for label in filter(labels, self._labels):
            try:
                assert wrap is not None
                key = self._tiers.unwrap(replace(wrap[1], label=label))
                require_commitment(ParcelKey(key), read_envelope(folder))
            except MedshareError:
                continue
            return True
        return False


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A station with a vault."""
    return Case(tmp_path)


def ciphertext(vault: Vault) -> dict[ParcelId, bytes]:
    """Return the first sealed chunk of each parcel."""
    found = {}
    for parcel in vault.parcels():
        path = vault.folder(parcel) / "chunks" / "00000000"
        found[parcel] = path.read_bytes()
    return found


def test_a_compromised_tier_key_opens_nothing_any_more(case: Case) -> None:
    """Parcel keys are fresh, the old KEK is destroyed, and whoever has it opens nothing."""
    thief = case.thief()
    before = ciphertext(case.vault)
    for parcel in (case.received, case.own):
        assert thief.opens_wrap(case.vault.folder(parcel))
    incident = case.report("routine")
    assert {one.before for one in incident.resealed} == {case.received, case.own}
    assert (incident.tiers, incident.resumed, incident.failed) == (("routine",), False, ())
    assert incident.rotations.tiers[0].destroyed == ("routine/0",)
    after = ciphertext(case.vault)
    assert after.keys() & before.keys() == {case.sensitive}
    for parcel in after.keys() - before.keys():
        assert not thief.opens_wrap(case.vault.folder(parcel))
    boxes = [case.b.station.home / box for box in ("inbox", "outbox")]
    for folder in [one for box in boxes for one in box.iterdir() if one.is_dir()]:
        assert not thief.opens_wrap(folder)
    case.require_all_open()


def test_another_tier_is_left_alone(case: Case) -> None:
    """Neither key nor ciphertext of a tier that is not concerned changes."""
    before = ciphertext(case.vault)[case.sensitive]
    case.report("routine")
    assert ciphertext(case.vault)[case.sensitive] == before
    assert {one.label for one in case.entries()} == {"routine/1", "sensitive/0"}


def test_a_compromised_identity_opens_nothing_any_more(case: Case) -> None:
    """All content is sealed anew to new keys; the whole old keystore opens none of it."""
    thief = case.thief()
    assert all(thief.opens(case.vault.folder(parcel)) for parcel in case.vault.parcels())
    incident = case.report("identity")
    assert len(incident.resealed) == 3
    assert incident.tiers == ("routine", "sensitive")
    assert incident.identity is not None
    assert not any(thief.opens(case.vault.folder(parcel)) for parcel in case.vault.parcels())
    for box in ("inbox", "outbox"):
        for folder in (case.b.station.home / box).iterdir():
            if (folder / WRAP_FILE).exists():
                assert not thief.opens_wrap(folder)
    case.require_all_open()


def test_the_new_card_tells_everybody(case: Case) -> None:
    """Contacts learn the revocation with the card, and refuse what the old keys sign."""
    old = case.b.identity
    case.report("identity", since=NOW - 100)
    case.renewed()
    card = case.b.station.card
    revocation = card.current.revoked
    assert revocation is not None
    assert (revocation.through, revocation.since) == (0, NOW - 100)
    assert case.a.station.contacts.add(card, name=None, now=NOW).card == card
    stolen = Person(case.b.station)
    stolen.__dict__["identity"] = old
    case.b = stolen
    forged = case.send_back()
    with pytest.raises(RevokedError, match="has revoked"):
        case.receive(forged, by=case.a, output="forged")


def test_what_was_accepted_before_is_still_received(case: Case, tmp_path: Path) -> None:
    """A parcel whose receiving had begun, made before the loss, is not lost by the revocation."""
    parcel = case.send_back()
    broken = Breaking(case.store, case.a.station.id, after=2)
    with pytest.raises(RelayUnavailableError):
        case.receive(parcel, by=case.a, transport=broken, output="back")
    case.report("identity")
    case.renewed()
    case.a.station.contacts.add(case.b.station.card, name=None, now=NOW)
    case.receive(parcel, by=case.a, output="back")
    fresh = Case(tmp_path / "fresh")
    late = fresh.send_back()
    fresh.report("identity")
    fresh.renewed()
    fresh.a.station.contacts.add(fresh.b.station.card, name=None, now=NOW)
    with pytest.raises(RevokedError):
        fresh.receive(late, by=fresh.a, output="back")


def test_new_parcels_never_use_the_revoked_keys(case: Case) -> None:
    """What is sent, received and kept afterwards is under new keys alone."""
    case.report("identity")
    case.renewed()
    parcel = case.add()
    envelope = parse_envelope(case.vault.sealed(parcel).read_envelope())
    assert envelope.sender_keys == case.b.station.card.current.sign_keys
    assert KeyBook(case.b.station.home).uses().keys() <= {"routine/1", "sensitive/1"}
    assert {one.label for one in case.entries()} == {"routine/1", "sensitive/1"}


def test_what_was_under_way_is_begun_anew(case: Case) -> None:
    """An interrupted send is not taken up again under the revoked key."""
    broken = Breaking(case.store, case.b.station.id, after=2)
    with pytest.raises(RelayUnavailableError):
        case.send_back(broken)
    (pending,) = (case.b.station.home / "outbox").glob("pending-*")
    begun = ParcelId(bytes.fromhex(pending.read_text()))
    incident = case.report("routine")
    assert incident.abandoned == (begun,)
    case.renewed()
    assert case.send_back() != begun


def test_what_was_shared_is_listed(case: Case) -> None:
    """Every parcel that the key protected is named, with where it is and who has its key."""
    sent = case.send_back()
    incident = case.report("routine")
    assert {(one.parcel, one.where, one.parties) for one in incident.exposed} == {
        (case.received, "received", ("alice",)),
        (case.received, "vault", ("alice",)),
        (case.own, "vault", ()),
        (sent, "sent", ("alice",)),
    }
    assert {one.tier for one in incident.exposed} == {"routine"}


def test_origin_and_time_of_deletion_stay(case: Case) -> None:
    """Content that was sealed anew still tells from whom it came, and is found by its first id."""
    case.report("routine")
    after = find_in_vault(case.vault, case.received)
    (entry,) = [one for one in case.entries() if one.parcel == after]
    assert entry.sender_name == "alice"
    assert entry.origin is not None
    assert (entry.origin.parcel, entry.origin.replaced) == (case.received, case.received)
    case.report("routine")
    assert find_in_vault(case.vault, case.received) not in {after, case.received}


def test_a_dry_run_changes_nothing(case: Case) -> None:
    """It counts and lists, and every octet of station and vault stays."""
    before = {
        path: path.read_bytes()
        for root in (case.b.station.home, case.vault.root)
        for path in root.rglob("*")
        if path.is_file() and "record" not in path.parts
    }
    incident = case.report("identity", dry_run=True)
    assert (incident.to_reseal, incident.resealed) == (3, ())
    assert len(incident.exposed) == 4
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("key", ["urgent", "routine/x", "identity/0", "", "restricted"])
def test_an_unknown_key_is_refused(case: Case, key: str) -> None:
    """A slip in the name revokes nothing; the known ones are named."""
    with pytest.raises(UsageError, match="there is no key") as caught:
        case.report(key)
    assert "identity, routine, sensitive" in (caught.value.hint or "")
    assert Happened.REVOKED not in [what for what, _ in case.history()]


def test_a_loss_in_the_future_is_refused(case: Case) -> None:
    """A date after now is a slip."""
    with pytest.raises(UsageError, match="in the future"):
        case.report("routine", since=NOW + 1)


def test_a_key_that_is_gone_already_takes_its_tier_along(case: Case) -> None:
    """Whoever kept an old KEK and old wraps knows parcel keys: content is sealed anew."""
    case.report("routine")
    first = set(case.vault.parcels())
    incident = case.report("routine/0")
    assert (incident.tiers, len(incident.resealed)) == (("routine",), 2)
    assert set(case.vault.parcels()) & first == {case.sensitive}
    case.require_all_open()


def test_a_parcel_that_cannot_be_sealed_anew_is_named(case: Case) -> None:
    """The rest is done; the damaged one keeps the key that it needs, and the incident open."""
    path = case.vault.folder(case.own) / "chunks" / "00000001"
    octets = path.read_bytes()
    path.write_bytes(octets[:-1] + bytes([octets[-1] ^ 1]))
    incident = case.report("routine")
    assert [one.folder.name for one in incident.failed] == [case.own.hex()]
    assert incident.rotations.tiers[0].kept == ("routine/0",)
    assert (Happened.INCIDENT_DONE, "routine") not in case.history()
    path.write_bytes(octets)
    again = case.report("routine")
    assert (again.resumed, len(again.resealed), again.failed) == (True, 1, ())
    assert again.rotations.tiers[0].destroyed == ("routine/0",)
    assert (Happened.INCIDENT_DONE, "routine") in case.history()
    case.require_all_open()


def steps_of(count: int) -> Iterator[int]:
    """Yield every step of a short run, and a spread of a long one."""
    yield from range(1, count + 1, max(1, count // 25))


@pytest.mark.slow
@pytest.mark.parametrize("key", ["routine", "identity"])
def test_killed_at_any_step_the_next_run_completes_it(tmp_path: Path, key: str) -> None:
    """Wherever it stops, no content is lost, and a second run ends with exactly one of each."""
    template = Case(tmp_path / "template")
    counted = Case(tmp_path / "counted")
    steps = count_changes(lambda: counted.report(key))
    assert steps > 100
    for step in steps_of(steps):
        case = copied(template, tmp_path / str(step))
        thief = case.thief()
        with pytest.raises(Killed), killed_at(step):
            case.report(key)
        incident = case.report(key)
        assert incident.failed == ()
        tried = thief.opens if key == "identity" else thief.opens_wrap
        labels = {one.parcel: one.tier for one in case.entries()}
        for parcel, tier in labels.items():
            if key in {"identity", tier}:
                assert not tried(case.vault.folder(parcel))
        case.require_all_open()
        assert case.report(key, dry_run=True).resumed is False
        shutil.rmtree(case.tmp)


def copied(template: Case, folder: Path) -> Case:
    """Return a copy of *template* in *folder*."""
    shutil.copytree(template.tmp, folder, symlinks=True)
    case = Case.__new__(Case)
    case.__dict__.update(template.__dict__)
    case.tmp, case.study = folder, folder / "study"
    case.b = Person(Station.open(folder / "b"), template.b.backend)
    (folder / "b" / "vaults").unlink()
    case.vault = Vault.make(folder / "vault", case.b.station)
    return case


def test_the_record_of_a_destroyed_key_remains(case: Case) -> None:
    """Who asks later finds what was revoked, why, and that it was destroyed."""
    case.report("routine")
    book = KeyBook(case.b.station.home)
    (revoked,) = [one for one in book.entries() if one.what == Happened.REVOKED]
    assert (revoked.key, revoked.note) == ("routine/0", "stolen laptop")
    assert (Happened.DESTROYED, "routine/0") in case.history()
    notes = [one.note for one in book.entries() if one.what == Happened.RESEALED]
    assert all(case.received.hex() in note or case.own.hex() in note for note in notes)


def test_an_old_keystore_lacks_the_new_keys(case: Case) -> None:
    """A backup of the keystore from before opens nothing of the vault, and says what is missing."""
    thief = case.tmp / "backup"
    shutil.copytree(case.b.station.home / "keys", thief)
    case.report("routine")
    store = case.b.backend.open(thief)
    station = Station.open(case.b.station.home)
    identity = replace(station.identity(store), openers=())
    with pytest.raises(KeyUnavailableError, match="routine/1"):
        open_from_vault(
            case.vault,
            find_in_vault(case.vault, case.own),
            identity=identity,
            output=case.tmp / "nothing",
        )
    assert not (case.tmp / "nothing").exists()
    assert ParcelFolder(case.vault.folder(case.sensitive)).has_seal()

"""The vault: sealed parcels at rest, listed without a key, opened with the present one."""

import os
from pathlib import Path

import pytest

from medshare.disk.separation import VAULT_MARKER
from medshare.errors import (
    IncompleteError,
    IntegrityError,
    NotFoundError,
    RevokedError,
    StorageError,
    UntrustedSignerError,
    UsageError,
)
from medshare.ids import ParcelId
from medshare.sharing.receive import receive
from medshare.sharing.rotate import rotate_identity
from medshare.sharing.rotate_tiers import rotate_tiers
from medshare.sharing.send import SendOptions, send
from medshare.sharing.wrapped import WRAP_FILE
from medshare.station.vaults import present_vaults, registered_vaults
from medshare.vault.keeping import KeepingTransport, add_to_vault
from medshare.vault.listing import Unreadable, VaultEntry, list_vault, verify_in_vault
from medshare.vault.opening import open_from_vault
from medshare.vault.store import Vault
from tests.fakes import MemoryTransport
from tests.people import Person
from tests.sharing_case import CHUNK, QUICK, Breaking
from tests.sharing_case import Case as SharingCase

FAR_FUTURE = 4_000_000_000


class Case(SharingCase):
    """Two stations, of which the second has a vault."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path)
        self.vault = Vault.make(tmp_path / "vault", self.b.station)

    def keep(self, parcel: ParcelId, transport: object = None) -> None:
        """Receive *parcel* and keep it in the vault."""
        inner = transport or self.transport(self.b)
        receive(
            parcel,
            identity=self.b.identity,
            station=self.b.station,
            transport=KeepingTransport(inner, self.vault, self.b.identity),  # type: ignore[arg-type]  # a stand-in
            output=self.tmp / "out",
            options=QUICK,
            on_event=self.events.append,
        )

    def add(self, tier: str = "routine") -> ParcelId:
        """Put the study into the vault of the second station."""
        options = SendOptions(chunk_size=CHUNK, tier=tier)
        return add_to_vault(
            self.vault, [self.study], identity=self.b.identity, options=options
        ).parcel

    def send_back(self, transport: MemoryTransport | None = None) -> ParcelId:
        """Send the study from the second station to the first."""
        options = SendOptions(chunk_size=CHUNK, workers=2, give_up_after=0.5)
        return send(
            [self.study],
            to=[self.b.station.contacts.named("alice")],
            identity=self.b.identity,
            station=self.b.station,
            transport=transport or self.transport(self.b),
            options=options,
        ).parcel

    def open(self, parcel: ParcelId, output: str = "opened") -> None:
        """Open *parcel* from the vault and compare every file."""
        open_from_vault(self.vault, parcel, identity=self.b.identity, output=self.tmp / output)
        self.assert_arrived(output)

    def renewed(self) -> None:
        """Open the keystore of the second station anew."""
        self.b = Person(type(self.b.station).open(self.b.station.home), self.b.backend)
        self.vault = Vault.open(self.vault.root, self.b.station)

    def entry(self) -> VaultEntry:
        """Return the only entry of the vault."""
        (entry,) = list_vault(self.vault)
        assert isinstance(entry, VaultEntry)
        return entry


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Two stations, of which the second has a vault."""
    return Case(tmp_path)


def test_what_is_received_can_be_kept_and_opened_again(case: Case) -> None:
    """The vault has the very octets that were sent, and gives the files out once more."""
    parcel = case.send().parcel
    case.keep(parcel)
    case.assert_arrived()
    sealed = case.vault.sealed(parcel)
    assert sealed.read_envelope() == case.transport(case.b).get_envelope(parcel)
    assert sealed.read_seal() == case.transport(case.b).get_seal(parcel)
    case.open(parcel)
    case.open(parcel, "again")
    entry = case.entry()
    assert (entry.sender_name, entry.tier, entry.sealed) == ("alice", "routine", True)
    assert (entry.label, entry.origin) == ("routine/0", None)


def test_files_of_this_machine_can_be_put_into_the_vault(case: Case) -> None:
    """They are sealed to the station itself, and nothing of them stays in the outbox."""
    parcel = case.add("sensitive")
    case.open(parcel)
    entry = case.entry()
    assert (entry.sender_name, entry.tier, entry.label) == (
        "this station",
        "sensitive",
        "sensitive/0",
    )
    assert list((case.b.station.home / "outbox").iterdir()) == []


def test_an_interrupted_receive_is_kept_whole_in_the_end(case: Case) -> None:
    """Chunks that an earlier run fetched without keeping them are fetched for the vault."""
    parcel = case.send().parcel
    broken = Breaking(case.store, case.b.station.id, after=3)
    with pytest.raises(Exception, match="line is down"):
        case.receive(parcel, transport=broken)
    case.keep(parcel)
    assert verify_in_vault(case.vault, parcel, case.b.identity).faults == ()
    case.open(parcel)


def test_no_receipt_without_the_vault(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the vault cannot take it, the sender gets no receipt; the next run completes it."""
    parcel = case.send().parcel
    write = os.pwrite

    def full(file: int, data: bytes, at: int) -> int:
        if "vault" in str(Path(f"/proc/self/fd/{file}").readlink()):
            raise OSError(28, "No space left on device")
        return write(file, data, at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(StorageError, match="disk is full"):
            case.keep(parcel)
    assert case.transport(case.a).stored(parcel).receipts == ()
    case.keep(parcel)
    assert len(case.transport(case.a).stored(parcel).receipts) == 1
    case.open(parcel)


def test_the_vault_opens_after_rotations(case: Case) -> None:
    """New identity keys and new tier keys change nothing for what is in the vault."""
    kept = case.send().parcel
    case.keep(kept)
    added = case.add()
    store = case.b.station.keystore_with(case.b.backend)
    assert rotate_identity(case.b.station, store, now=FAR_FUTURE).failed == ()
    result = rotate_tiers(case.b.station, store, ["routine"], now=FAR_FUTURE)
    assert result.tiers[0].destroyed == ("routine/0",)
    assert result.rewrapped == 3
    case.renewed()
    case.open(kept, "first")
    case.open(added, "second")


def test_a_damaged_chunk_is_named_and_gives_nothing(case: Case) -> None:
    """No file appears in the output when one chunk is not as it was sealed."""
    parcel = case.add()
    path = case.vault.folder(parcel) / "chunks" / "00000001"
    octets = bytearray(path.read_bytes())
    octets[100] ^= 1
    path.write_bytes(octets)
    with pytest.raises(IntegrityError, match=r"chunk 1 in the vault is damaged; it holds study/"):
        case.open(parcel)
    assert [one for one in (case.tmp / "opened").iterdir() if not one.name.startswith(".")] == []
    (fault,) = verify_in_vault(case.vault, parcel, case.b.identity).faults
    assert fault.where == "chunk 1"
    path.unlink()
    with pytest.raises(IncompleteError, match="chunk 1 is missing"):
        case.open(parcel)


def test_a_parcel_without_a_seal_is_unfinished(case: Case) -> None:
    """What was interrupted on its way into the vault does not open."""
    parcel = case.add()
    (case.vault.folder(parcel) / "seal").unlink()
    assert not case.entry().sealed
    with pytest.raises(IncompleteError, match="completely"):
        case.open(parcel)


def test_a_parcel_in_anothers_place_is_noticed(case: Case) -> None:
    """A folder renamed to another id gives nothing, and is named by `verify`."""
    parcel = case.add()
    other = ParcelId(bytes(16))
    case.vault.folder(parcel).rename(case.vault.folder(other))
    with pytest.raises(IntegrityError, match="another parcel"):
        case.open(other)
    faults = verify_in_vault(case.vault, other, None).faults
    assert [fault.where for fault in faults] == ["envelope"]
    with pytest.raises(NotFoundError):
        case.open(parcel)


def test_what_a_revoked_contact_sent_gives_nothing(case: Case) -> None:
    """A contact that is not trusted any more is not believed in the vault either."""
    parcel = case.send().parcel
    case.keep(parcel)
    case.b.station.contacts.distrust("alice", now=1)
    with pytest.raises(RevokedError):
        case.open(parcel)
    faults = verify_in_vault(case.vault, parcel, case.b.identity).faults
    assert [(fault.where, fault.code) for fault in faults] == [("sender", "authenticity.revoked")]


def test_a_stranger_in_the_vault_is_not_believed(case: Case) -> None:
    """A well-made parcel from nobody that is known here gives nothing."""
    parcel = case.send().parcel
    case.keep(parcel)
    (case.b.station.home / "contacts" / case.a.station.id.hex()).unlink()
    with pytest.raises(UntrustedSignerError):
        case.open(parcel)
    assert case.entry().sender_name == ""


def test_a_missing_wrap_costs_nothing_while_the_envelope_opens(case: Case) -> None:
    """The stanza of the envelope serves where the file beside it is lost."""
    parcel = case.add()
    (case.vault.folder(parcel) / WRAP_FILE).unlink()
    assert case.entry().label == ""
    case.open(parcel)


def test_what_cannot_be_read_does_not_hide_the_rest(case: Case) -> None:
    """A damaged envelope is listed as such, after what can be read."""
    case.add()
    bad = ParcelId(bytes(16))
    case.vault.folder(bad).mkdir()
    (case.vault.folder(bad) / "envelope").write_bytes(b"damaged")
    good, unreadable = list_vault(case.vault)
    assert isinstance(good, VaultEntry)
    assert isinstance(unreadable, Unreadable)
    assert unreadable.parcel == bad


def test_a_vault_is_remembered_by_its_station(case: Case) -> None:
    """The station knows its vaults, so that no rotation forgets one."""
    assert registered_vaults(case.b.station.home) == (case.vault.root,)
    assert present_vaults(case.b.station.home) == (case.vault.root,)


@pytest.mark.parametrize("place", ["b/vault", "b", "."])
def test_a_vault_with_the_keystore_is_refused(case: Case, place: str) -> None:
    """A vault in the folder of the station, or around it, is refused, and not remembered."""
    with pytest.raises(StorageError) as caught:
        Vault.make(case.tmp / place, case.b.station)
    assert caught.value.code == "storage.separation"
    assert registered_vaults(case.b.station.home) == (case.vault.root,)


def test_a_vault_in_the_folder_of_another_station_is_refused(case: Case) -> None:
    """No station's keys lie with data, whosever they are."""
    with pytest.raises(StorageError, match="in the folder of a station"):
        Vault.make(case.a.station.home / "vault", case.b.station)


def test_a_folder_with_other_things_is_no_vault(case: Case, tmp_path: Path) -> None:
    """A full folder does not become a vault by a slip of the hand, and none is made to look."""
    with pytest.raises(UsageError, match="not a vault, and not empty"):
        Vault.make(case.study, case.b.station)
    with pytest.raises(UsageError, match="there is no vault"):
        Vault.open(tmp_path / "nowhere", case.b.station)
    assert not (tmp_path / "nowhere").exists()


def test_a_vault_is_for_its_owner_alone(case: Case) -> None:
    """Others cannot enter it, and one that they can enter is refused."""
    case.add()
    modes = {path.stat().st_mode & 0o077 for path in [case.vault.root, *case.vault.root.rglob("*")]}
    assert modes == {0}
    case.vault.root.chmod(0o750)
    with pytest.raises(StorageError, match="open to other users"):
        Vault.open(case.vault.root, case.b.station)


def test_what_is_destroyed_is_overwritten_and_gone(case: Case) -> None:
    """No file under its old name, and the octets on disk are not the ciphertext any more."""
    parcel = case.add()
    path = case.vault.folder(parcel) / "chunks" / "00000000"
    octets = path.read_bytes()
    with path.open("rb") as held:
        case.vault.destroy(parcel)
        left = held.read()
    assert len(left) == len(octets)
    assert left != octets
    assert octets[200:240] not in left
    assert [one.name for one in case.vault.root.iterdir()] == [VAULT_MARKER]


def test_what_has_another_name_is_not_overwritten(case: Case) -> None:
    """A hard link elsewhere keeps its octets: only what is ours alone is destroyed."""
    parcel = case.add()
    path = case.vault.folder(parcel) / "chunks" / "00000000"
    octets = path.read_bytes()
    os.link(path, case.tmp / "elsewhere")
    case.vault.destroy(parcel)
    assert (case.tmp / "elsewhere").read_bytes() == octets


def test_an_interrupted_destruction_is_completed(case: Case) -> None:
    """What was renamed to be destroyed is no parcel any more, and goes at the next occasion."""
    parcel = case.add()
    case.vault.folder(parcel).rename(case.vault.root / f".gone-{parcel.hex()}")
    assert case.vault.parcels() == ()
    case.vault.tidy()
    assert [one.name for one in case.vault.root.iterdir()] == [VAULT_MARKER]

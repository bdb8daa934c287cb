"""The vault with every kind of station: national algorithms, and keys in a hardware token."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from medshare.envelope import parse_envelope
from medshare.ids import ParcelId
from medshare.sharing.rotate import rotate_identity
from medshare.sharing.rotate_tiers import rotate_tiers
from medshare.sharing.send import SendOptions
from medshare.station import Station
from medshare.vault.compromise import Report, compromised
from medshare.vault.keeping import add_to_vault
from medshare.vault.listing import find_in_vault
from medshare.vault.opening import open_from_vault
from medshare.vault.store import Vault
from tests import softhsm
from tests.people import Person, make_person, make_person_with

NOW = 4_000_000_000
CONTENT = os.urandom(9000)


@dataclass
class Case:
    """A station with a vault, and something in it."""

    folder: Path
    person: Person

    @property
    def vault(self) -> Vault:
        """The vault, for another process."""
        return Vault.make(self.folder / "vault", Station.open(self.person.station.home))

    def add(self) -> ParcelId:
        """Put a file into the vault."""
        source = self.folder / "one.dcm"
        source.write_bytes(CONTENT)
        options = SendOptions(chunk_size=4096)
        identity = self.renewed().identity
        return add_to_vault(self.vault, [source], identity=identity, options=options).parcel

    def renewed(self) -> Person:
        """Open station and keystore anew."""
        self.person = Person(Station.open(self.person.station.home), self.person.backend)
        return self.person

    def require_opens(self, parcel: ParcelId, output: str) -> None:
        """Fail unless the content comes out as it went in."""
        found = find_in_vault(self.vault, parcel)
        identity = self.renewed().identity
        open_from_vault(self.vault, found, identity=identity, output=self.folder / output)
        assert (self.folder / output / "one.dcm").read_bytes() == CONTENT


@pytest.fixture(params=["intl", "gm", "gm+intl", "pkcs11"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """A station of each kind."""
    kind = request.param
    if kind == "pkcs11":
        return Case(tmp_path, make_person_with(softhsm.backend(), tmp_path / "home", "us"))
    return Case(tmp_path, make_person(tmp_path / "home", "us", kind))


@pytest.mark.service
def test_the_vault_works_for_every_kind_of_station(case: Case) -> None:
    """Added, opened, after rotations, and after both kinds of loss: always the same content."""
    parcel = case.add()
    case.require_opens(parcel, "first")
    station = case.renewed().station
    store = station.keystore_with(case.person.backend)
    assert rotate_tiers(station, store, ["routine"], now=NOW).tiers[0].destroyed == ("routine/0",)
    assert rotate_identity(station, store, now=NOW).failed == ()
    case.require_opens(parcel, "second")
    for number, key in enumerate(("routine", "identity")):
        station = case.renewed().station
        store = station.keystore_with(case.person.backend)
        before = parse_envelope(case.vault.sealed(case.vault.parcels()[0]).read_envelope())
        incident = compromised(station, store, [case.vault], Report(key, NOW + 1 + number))
        assert (incident.failed, len(incident.resealed)) == ((), 1)
        after = parse_envelope(case.vault.sealed(case.vault.parcels()[0]).read_envelope())
        assert (after.suite, after.tier) == (before.suite, before.tier)
        case.require_opens(parcel, key)

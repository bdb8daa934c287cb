"""Stations for tests, with cheap passphrases."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from medshare.station import Identity, Station

PASSPHRASE = b"a passphrase for tests only"


@dataclass
class Person:
    """A station with its keystore unlocked."""

    station: Station

    @cached_property
    def identity(self) -> Identity:
        """The unlocked identity."""
        return self.station.unlock(PASSPHRASE)

    def trust(self, other: "Person", name: str) -> None:
        """Make *other* a contact called *name*."""
        self.station.contacts.add(other.station.card, name=name, now=1)


def make_person(home: Path, name: str) -> Person:
    """Return a new station in *home*."""
    return Person(Station.create(home, name=name, passphrase=PASSPHRASE, now=1))

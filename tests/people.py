"""Stations for tests, with cheap passphrases."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from medshare.keys.sealed import KdfCost
from medshare.station import Identity, Station
from medshare.station.identity import identity_of

PASSPHRASE = b"a passphrase for tests only"
CHEAP = KdfCost(memory_kib=64, passes=1, lanes=1)


@dataclass
class Person:
    """A station with its keystore unlocked."""

    station: Station

    @cached_property
    def identity(self) -> Identity:
        """The unlocked identity."""
        return identity_of(self.station.card, self.station.keystore(PASSPHRASE, cost=CHEAP))

    def trust(self, other: "Person", name: str) -> None:
        """Make *other* a contact called *name*."""
        self.station.contacts.add(other.station.card, name=name, now=1)


SUITES = ("intl", "gm")
"""The suites in which whatever works must work."""


def make_person(home: Path, name: str, suite: str = "intl") -> Person:
    """Return a new station in *home* with the keys of *suite*."""
    station = Station.create(home, name=name, passphrase=PASSPHRASE, now=1, suite=suite, cost=CHEAP)
    return Person(station)

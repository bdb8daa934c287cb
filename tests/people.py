"""Stations for tests, with cheap passphrases."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from medshare.keys.base import Backend
from medshare.keys.file import FileBackend
from medshare.keys.sealed import KdfCost
from medshare.station import Identity, Station

PASSPHRASE = b"a passphrase for tests only"
CHEAP = KdfCost(memory_kib=64, passes=1, lanes=1)


@dataclass
class Person:
    """A station with its keystore unlocked."""

    station: Station
    backend: Backend = field(default_factory=lambda: FileBackend(PASSPHRASE, cost=CHEAP))
    """What opens its keystore."""

    @cached_property
    def identity(self) -> Identity:
        """The unlocked identity."""
        return self.station.identity(self.station.keystore_with(self.backend))

    def trust(self, other: "Person", name: str) -> None:
        """Make *other* a contact called *name*."""
        self.station.contacts.add(other.station.card, name=name, now=1)


SUITES = ("intl", "gm")
"""The suites in which whatever works must work."""


def make_person(home: Path, name: str, suite: str = "intl") -> Person:
    """Return a new station in *home* with the keys of *suite*."""
    station = Station.create(home, name=name, passphrase=PASSPHRASE, now=1, suite=suite, cost=CHEAP)
    return Person(station)


def make_person_with(backend: Backend, home: Path, name: str) -> Person:
    """Return a new station in *home* with a keystore of *backend*."""
    return Person(Station.create_with(backend, home, name=name, now=1), backend)

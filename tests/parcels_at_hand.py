"""A station with parcels at hand: what a rotation of its keys has to deal with."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

from medshare.envelope import Envelope
from medshare.keys.base import KeyStore
from medshare.keys.sealed import KdfCost
from medshare.sealing import ParcelKey
from medshare.sharing.rotate import Rotation, rotate_identity
from medshare.sharing.wrapped import parcel_key
from medshare.station import Identity, Station
from medshare.suites.base import SoftwareOpener, SoftwareSigner
from tests import builder

PASSPHRASE: Final = b"correct horse battery staple"
CHEAP: Final = KdfCost(memory_kib=64, passes=1, lanes=1)
THEN: Final = 1_750_000_000
NOW: Final = THEN + 86_400
WANG: Final = builder.make_identity("Dr Wang")
MARY: Final = builder.make_identity("Mary")


class Case:
    """A station with parcels at hand: two received, one sent, one addressed to others."""

    def __init__(self, home: Path, suite: str = "intl") -> None:
        self.home = home
        self.station = Station.create(
            home, name="us", passphrase=PASSPHRASE, now=THEN, suite=suite, cost=CHEAP
        )
        us = self.as_builder(self.identity())
        self.parcels = {
            self.place(
                "inbox", builder.make_parcel({"a": b"1"}, sender=WANG, recipients=[us], label="a")
            ),
            self.place(
                "inbox", builder.make_parcel({"b": b"2"}, sender=MARY, recipients=[us], label="b")
            ),
            self.place(
                "outbox", builder.make_parcel({"c": b"3"}, sender=us, recipients=[WANG], label="c")
            ),
        }
        self.foreign = self.place(
            "inbox", builder.make_parcel({"d": b"4"}, sender=WANG, recipients=[MARY], label="d")
        )[0]
        (home / "outbox" / "pending-0123").write_text("not a parcel")

    @classmethod
    def at(cls, home: Path, like: "Case") -> "Case":
        """Return the case in *home*, a copy of the home of another one."""
        case = copy(like)
        case.home = home
        case.parcels = {
            (home / folder.parent.name / folder.name, envelope, key)
            for folder, envelope, key in like.parcels
        }
        return case

    def as_builder(self, identity: Identity) -> builder.Identity:
        """Return the identity in the form that the builder of parcels takes."""
        signers = cast(tuple[SoftwareSigner, ...], identity.signers)
        openers = cast(tuple[SoftwareOpener, ...], identity.openers[:1])
        return builder.Identity("us", identity.card, signers, openers)

    def place(self, box: str, parcel: builder.Parcel) -> tuple[Path, Envelope, ParcelKey]:
        """Put *parcel* in a box of the station."""
        folder = self.home / box / parcel.id.hex()
        builder.write_folder(parcel, folder)
        return folder, parcel.facts, parcel.key

    def store(self) -> KeyStore:
        """Return the keystore, opened anew."""
        return Station.open(self.home).keystore(PASSPHRASE, cost=CHEAP)

    def identity(self) -> Identity:
        """Return the identity, opened anew."""
        return Station.open(self.home).identity(self.store())

    def rotate(self, folders: Sequence[Path] = (), *, dry_run: bool = False) -> Rotation:
        """Rotate, as another process would."""
        station = Station.open(self.home)
        return rotate_identity(station, self.store(), now=NOW, folders=folders, dry_run=dry_run)

    def require_all_open(self, openers: slice = slice(None)) -> None:
        """Fail unless each parcel opens with the chosen keys, newest first."""
        identity = self.identity()
        identity = replace(identity, openers=identity.openers[openers])
        for folder, envelope, key in self.parcels:
            assert parcel_key(envelope, folder, identity) == key

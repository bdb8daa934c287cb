"""The floor as a tool among tools: one file of its own, as large as the input."""

from pathlib import Path
from typing import ClassVar

from benchmarks import floor
from benchmarks.carrying import Carrying
from benchmarks.measure import cores
from benchmarks.tools.base import Tool


class Floor(Tool):
    """The bare work of one sealed, hashed leg over TLS; see benchmarks/floor.py."""

    name = "floor"
    way = "the bare floor: one leg of TLS, no format, no signature, no journal, no fsync"
    seals = True
    relay: ClassVar[bool] = False

    def takes(self, source: Path) -> bool:
        """One file: the floor knows no names."""
        return source.is_file()

    def carry(self, trip: Carrying, source: Path, target: Path) -> None:
        if not (self.place / "key").exists():
            floor.prepare(self.place, 0)
        (self.place / "source").unlink(missing_ok=True)
        (self.place / "source").hardlink_to(source)
        task = floor.Task(self.place, source.stat().st_size, cores())
        trip.begin()
        trip.adopt(floor.start(task, relay=self.relay))
        trip.join()
        (self.place / "target").rename(target / source.name)

    def clean(self) -> None:
        (self.place / "kept").unlink(missing_ok=True)


class BareRelay(Floor):
    """The same with a bare relay between the ends."""

    name = "floor, relay"
    way = "the bare floor through a bare relay: two legs of TLS, one more hash, one more file"
    legs = 2
    relay = True

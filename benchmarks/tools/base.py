"""What every tool under comparison can do here: get ready once, then carry inputs."""

import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Final

from benchmarks.carrying import Carrying
from benchmarks.hosts import Host

PEERS: Final = "MEDSHARE_BENCH_PEERS"
"""Environment variable: a virtual environment with the peers that come from PyPI."""
_SYSTEM: Final = "/usr/sbin:/sbin:/usr/local/sbin"


class Tool(ABC):
    """A way to carry a file or a folder from one host to another.

    What is compared runs from the moment when the user starts the first command until the
    far folder is complete.  Servers stand already, keys are made, and neither counts.
    """

    name: ClassVar[str]
    way: ClassVar[str]
    """What is measured, in a few words."""
    legs: ClassVar[int] = 1
    """How often the content crosses the network."""
    seals: ClassVar[bool] = False
    """Whether what stands between the two ends sees ciphertext alone."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Programs that must be installed."""

    def __init__(self) -> None:
        self.place = Path()
        self.near = self.far = Host("", "")

    def absent(self) -> str | None:
        """Return why this tool cannot run here, or None."""
        missing = [name for name in self.needs if found(name) is None]
        return f"not installed: {', '.join(missing)}" if missing else None

    def prepare(self, place: Path, near: Host, far: Host) -> None:
        """Make keys and settings in the folder *place*; later trips go from *near* to *far*."""
        self.place, self.near, self.far = place, near, far
        self.set_up()

    def takes(self, source: Path) -> bool:  # noqa: ARG002  # most take whatever comes
        """Tell whether the tool is made for such an input."""
        return True

    def set_up(self) -> None:  # noqa: B027  # some tools need none
        """Make what one pair of users makes once."""

    @abstractmethod
    def carry(self, trip: Carrying, source: Path, target: Path) -> None:
        """Put *source* into the empty folder *target*, under its own name.

        Starts its servers, calls `trip.begin()`, and returns when all is there.
        """

    def clean(self) -> None:  # noqa: B027
        """Remove what a trip has left behind, besides the target."""


def found(name: str) -> Path | None:
    """Return where the program *name* is installed, if it is."""
    peers = os.environ.get(PEERS)
    path = os.pathsep.join(
        [*([f"{peers}/bin"] if peers else []), os.environ.get("PATH", os.defpath), _SYSTEM]
    )
    place = shutil.which(name, path=path)
    return Path(place) if place else None


def program(name: str) -> str:
    """Return the path of the program *name*; raise FileNotFoundError when there is none."""
    place = found(name)
    if place is None:
        raise FileNotFoundError(name)
    return str(place)

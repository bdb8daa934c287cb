"""magic-wormhole with mailbox and transit servers of its own, directly and through a relay."""

import os
from pathlib import Path
from typing import Final

from benchmarks.carrying import Carrying
from benchmarks.hosts import free_port
from benchmarks.tools.base import Tool, program

_CODE: Final = "7-measured-comparison"


class Wormhole(Tool):
    """The code is agreed beforehand; both ends start at once, and connect directly."""

    name = "magic-wormhole"
    way = "wormhole send and receive, which connect directly"
    seals = True
    needs = ("wormhole", "twist")
    options: tuple[str, ...] = ()

    def set_up(self) -> None:
        self.mailbox, self.transit = free_port(), free_port()

    def carry(self, trip: Carrying, source: Path, target: Path) -> None:
        address, twist = self.far.address, program("twist")
        listen = f"tcp:{self.mailbox}:interface={address}"
        channels = self.place / "channels.sqlite"
        channels.unlink(missing_ok=True)
        mailbox = [twist, "wormhole-mailbox", f"--port={listen}", f"--channel-db={channels}"]
        trip.serve("mailbox", mailbox, self.far, port=self.mailbox)
        listen = f"tcp:{self.transit}:interface={address}"
        trip.serve(
            "transit", [twist, "transitrelay", f"--port={listen}"], self.far, port=self.transit
        )
        wormhole = [
            program("wormhole"),
            *("--relay-url", f"ws://{address}:{self.mailbox}/v1"),
            *("--transit-helper", f"tcp:{address}:{self.transit}"),
        ]
        quiet = {**os.environ, "TERM": "dumb"}
        trip.begin()
        send = [*wormhole, "send", *self.options, "--hide-progress", "--code", _CODE, str(source)]
        trip.start("wormhole-send", send, self.near, env=quiet, cwd=self.place)
        receive = [*wormhole, "receive", *self.options, "--hide-progress", "--accept-file", _CODE]
        trip.start("wormhole-receive", receive, self.far, env=quiet, cwd=target)
        trip.join()


class WormholeRelay(Wormhole):
    """The same where no end can reach the other, as between hospitals."""

    name = "magic-wormhole, relay"
    way = "wormhole send and receive through its transit relay, which keeps nothing"
    legs = 2
    options = ("--no-listen",)

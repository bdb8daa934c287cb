"""Kills sender, receiver and relay at every call that matters, and at random moments.

`python -m tests.attacks.crash --role sender --every 1` prints one JSON object: how many
points were tried, how often something was started again, how many chunks were moved twice.
After each kill the same command runs again; the result must be that of an undisturbed run.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from tests.attacks import mutants  # first, so that a mutant is in its place in time
from tests.attacks.crash_world import CHUNK, PATIENCE, WORKERS, Child, World
from tests.attacks.faults import EXIT, Point

ENVELOPE: Final = 108 + 60
"""Octets that a chunk of this study may have on the wire beyond its plaintext."""
KILLED: Final = -9
KILLS_A_ROUND: Final = 3
TRY_AGAIN: Final = 5
"""The exit code that says: run the same command again to resume."""


@dataclass
class Report:
    """What a sweep did."""

    role: str
    mutant: str | None = os.environ.get(mutants.VARIABLE)
    points: int = 0
    """Calls before which the process was killed, or moments at which it was."""
    kills: int = 0
    unreached: int = 0
    """Points beyond the last call of a run: how many a run makes differs from one to the next."""
    restarts: int = 0
    most_resent: int = 0
    """Chunks that one run moved more often than once."""
    calls: dict[str, int] = field(default_factory=dict)
    """Calls of an undisturbed run, by kind."""
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def most_bytes_resent(self) -> int:
        """Octets on the wire that a run moved more often than once, at most."""
        return self.most_resent * (CHUNK + ENVELOPE)

    def as_dict(self) -> dict[str, object]:
        """Return the report for JSON."""
        return {**asdict(self), "most_bytes_resent": self.most_bytes_resent}


class Sweep:
    """One role killed at each of its calls in turn."""

    def __init__(self, world: World, role: str) -> None:
        self.world = world
        self.report = Report(role)

    def fail(self, point: object, *faults: str) -> None:
        """Note what was wrong."""
        self.report.faults += [f"{self.report.role} at {point}: {fault}" for fault in faults]

    def judge(self, point: object, *, allowed: int = WORKERS) -> None:
        """Hold the result of a run against that of an undisturbed one."""
        self.fail(point, *self.world.faults_of_result())
        for method in ("PUT", "GET"):
            moved = self.world.moved(method)
            again = len(moved) - len(set(moved))
            self.report.most_resent = max(self.report.most_resent, again)
            if again > allowed:
                reasons = Counter(self.world.said("retried"))
                self.fail(point, f"{again} chunks were moved twice ({method}): {dict(reasons)}")

    def finish(self, child: Child, again: Callable[[], Child], point: object) -> None:
        """Wait for *child*; start it again when it was killed, until it has done its work."""
        while (status := child.wait()) != 0:
            if status != KILLED:
                self.fail(point, f"ended with {status}: {child.lines()[-1:]}")
                return
            self.report.kills += 1
            self.report.restarts += 1
            child = again()

    def relay(self) -> Child:
        """Start the relay and wait until it serves."""
        child = self.world.relay()
        if child.hear("ready") is None:
            raise RuntimeError("the relay does not start")
        return child

    def at(self, act: Callable[[Point], dict[str, int]], point: int | str) -> None:
        """Let *act* end a process at *point*, or show that it made fewer calls than that."""
        self.report.points += 1
        killed = self.report.kills
        made = sum(act(point).values())
        if self.report.kills > killed:
            return
        self.report.unreached += 1
        if isinstance(point, str) or not 0 < made < point:
            self.fail(point, f"nobody died, and {made} calls were made")

    # --- the roles -----------------------------------------------------------------------

    def sender(self, point: Point) -> dict[str, int]:
        """Kill the sender at *point*, then complete everything; return the sender's calls."""
        world = self.world
        world.renew()
        relay = self.relay()
        try:
            child = world.send(kill_at=point)
            self.finish(child, world.send, point)
            parcel = self.parcel()
            self.finish(world.receive(parcel), lambda: world.receive(parcel), point)
            self.delivered(point)
            self.judge(point)
            return self.calls(child)
        finally:
            relay.kill()

    def receiver(self, point: Point) -> dict[str, int]:
        """Kill the receiver at *point*, then complete everything."""
        world = self.world
        world.renew()
        relay = self.relay()
        try:
            self.finish(world.send(), world.send, point)
            parcel = self.parcel()
            child = world.receive(parcel, kill_at=point)
            self.finish(child, lambda: world.receive(parcel), point)
            self.delivered(point)
            self.judge(point)
            return self.calls(child)
        finally:
            relay.kill()

    def collector(self, point: Point) -> dict[str, int]:
        """Kill the sender while it collects the receipt."""
        world = self.world
        world.renew()
        relay = self.relay()
        try:
            self.finish(world.send(), world.send, point)
            parcel = self.parcel()
            self.finish(world.receive(parcel), lambda: world.receive(parcel), point)
            child = world.send(kill_at=point)
            self.finish(child, world.send, point)
            self.judge(point)
            return self.calls(child)
        finally:
            relay.kill()

    def together(self, point: Point) -> dict[str, int]:
        """Kill the relay at *point*, with sender and receiver at work, and start it again."""
        self.world.renew()
        trio = Trio(self, relay_dies_at=point)
        try:
            trio.work(point)
        finally:
            first = trio.end()
        self.judge(point, allowed=2 * WORKERS)
        return first

    def anything(self, seed: int) -> None:
        """Kill all three at random moments until they have done their work."""
        self.world.renew()
        trio = Trio(self, dice=random.Random(seed))
        try:
            trio.work(f"seed {seed}")
        finally:
            trio.end()
        self.judge(f"seed {seed}", allowed=2 * WORKERS * (KILLS_A_ROUND - 1))

    # --- helpers -------------------------------------------------------------------------

    def parcel(self) -> str:
        """Return the one parcel that the sender has made."""
        return next((self.world.folder / "relay/parcels").iterdir()).name

    def delivered(self, point: object) -> None:
        """Let the sender collect the receipt."""
        child = self.world.send()
        self.finish(child, self.world.send, point)
        if child.lines()[-2].get("missing") != 0:
            self.fail(point, "the sender has no receipt")

    @staticmethod
    def calls(child: Child) -> dict[str, int]:
        """Return the calls that a process counted, if it came to its end."""
        return next((line["calls"] for line in child.lines() if "calls" in line), {})


class Trio:
    """Sender, receiver and relay at work together; whoever dies is started again."""

    def __init__(
        self, one: Sweep, *, relay_dies_at: Point = None, dice: random.Random | None = None
    ) -> None:
        self._world, self._report, self._fail = one.world, one.report, one.fail
        self._start_relay = one.relay
        self._dice = dice
        self._kills_left = KILLS_A_ROUND if dice else 0
        self._next_kill = self._soon()
        self._first = self._relay = self._world.relay(kill_at=relay_dies_at)
        self._sender = self._world.send(wait=PATIENCE)
        self._receiver: Child | None = None
        self._parcel = ""

    def _soon(self) -> float:
        return time.monotonic() + (self._dice.expovariate(6) if self._dice else 0)

    def work(self, point: object) -> None:
        """Go on until both clients have done their work."""
        end = time.monotonic() + PATIENCE
        while not self._done() and time.monotonic() < end:
            self._parcel = self._parcel or said(self._sender, "parcel")
            if self._parcel and self._receiver is None:
                self._receiver = self._world.receive(self._parcel)
            if self._kills_left and time.monotonic() > self._next_kill:
                self._kill_somebody()
            self._start_again()
            time.sleep(0.002)
        for child in (self._sender, self._receiver):
            if child is None or child.poll() != 0:
                self._fail(point, f"a client ended with {child and child.lines()[-1:]}")

    def _done(self) -> bool:
        return (
            self._sender.poll() == 0 and self._receiver is not None and self._receiver.poll() == 0
        )

    def _kill_somebody(self) -> None:
        if self._dice is None:
            return
        self._kills_left -= 1
        self._next_kill = self._soon()
        victim = self._dice.choice([self._relay, self._sender, self._receiver or self._sender])
        victim.kill()

    def _start_again(self) -> None:
        if self._relay.poll() is not None:
            self._count(self._relay)
            self._relay = self._start_relay()
        if self._sender.poll() in {KILLED, TRY_AGAIN}:
            self._count(self._sender)
            self._sender = self._world.send(wait=PATIENCE)
        if self._receiver is not None and self._receiver.poll() in {KILLED, TRY_AGAIN}:
            self._count(self._receiver)
            self._receiver = self._world.receive(self._parcel)

    def _count(self, child: Child) -> None:
        self._report.restarts += 1
        if child.status == KILLED:
            self._report.kills += 1
            self._report.points += self._dice is not None

    def end(self) -> dict[str, int]:
        """End everything; return the calls of the relay if it was never started again."""
        for child in (self._sender, self._receiver):
            if child is not None:
                child.kill()
        self._end_relay()
        if self._relay.status == KILLED:  # while it closed its files: it must start again
            self._count(self._relay)
            self._relay = self._start_relay()
            self._end_relay()
        return Sweep.calls(self._relay) if self._relay is self._first else {}

    def _end_relay(self) -> None:
        if self._relay.poll() is None:
            os.kill(self._relay.pid, signal.SIGTERM)
            self._relay.wait()


def said(child: Child, name: str) -> str:
    """Return what *child* has said of *name* already, or nothing."""
    return next((str(line[name]) for line in child.lines() if name in line), "")


def sweep(role: str, *, every: int, offset: int, rounds: int) -> Report:
    """Kill *role* at every so-manyth call, or all of them in *rounds* at random."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="medshare-crash-") as root:
        one = Sweep(World(Path(root)), role)
        if role == "random":
            for seed in range(offset, offset + rounds):
                one.anything(seed)
                one.world.forget()
        else:
            act = {
                "sender": one.sender,
                "receiver": one.receiver,
                "collector": one.collector,
                "relay": one.together,
            }[role]
            one.report.calls = dict(sorted(act(None).items()))
            calls = sum(one.report.calls.values())
            for point in (*range(1 + offset, calls + 1, every), EXIT):
                one.at(act, point)
                one.world.forget()
    one.report.seconds = round(time.monotonic() - begun, 1)
    return one.report


def main() -> None:
    """Run one sweep and print its report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--role", required=True)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=10)
    asked = parser.parse_args()
    report = sweep(asked.role, every=asked.every, offset=asked.offset, rounds=asked.rounds)
    json.dump(report.as_dict(), sys.stdout)


if __name__ == "__main__":
    main()

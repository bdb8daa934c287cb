"""Kills a relay, by SIGKILL, at each change of the disk while it carries out what was approved.

`python -m tests.admin_crash FOLDER ACTION EVERY` prints one JSON object: at how many points, of
which it takes each EVERYth, the relay was killed, at how many of them the act was done by the
next start, and every fault.  After each kill the relay starts again, the same vote is cast again,
and then the act must be done: once, with one entry in the record, and with a quorum that an
auditor can see.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medshare.audit.administration import ACTS
from medshare.audit.entries import Detail
from medshare.record.administration import judge_record
from medshare.record.reader import RecordReader
from medshare.relay.profiles import PERSON, person
from medshare.trust.orders import Action, Administrator, Order
from medshare.trust.proposal import SignedProposal, SignedVote
from medshare.wire import routes
from medshare.wire.admin_bodies import State
from medshare.wire.routes import Target
from tests.admin_case import (
    ANNA,
    BEN,
    ENROLL,
    STRANGER,
    charter_at,
    governed_case,
    proposal_of,
    put_proposal,
    put_vote,
    result_of,
    vote_of,
)
from tests.builder import make_parcel
from tests.fault import CHANGES
from tests.relay_case import Case, signed
from tests.suites.transport_suite import ALICE, BOB

KILLED = -signal.SIGKILL
MORE = ("pwrite", "ftruncate", "truncate", "fdatasync")
PARCEL = make_parcel({"a": b"sealed"}, sender=ALICE, recipients=[BOB], label="killed")
TWO = tuple(Administrator(one.card) for one in (ANNA, BEN))
ORDERS = {
    Action.ENROLL: ENROLL,
    Action.REMOVE: Order(Action.REMOVE, station=BOB.station),
    Action.DELETE: Order(Action.DELETE, parcel=PARCEL.id),
    Action.HOLD: Order(Action.HOLD, parcel=PARCEL.id),
    Action.SET_PROFILE: Order(Action.SET_PROFILE, station=BOB.station, profile=person().encode()),
    Action.WITHDRAW_GRANT: Order(Action.WITHDRAW_GRANT, parcel=PARCEL.id, station=BOB.station),
    Action.SET_POLICY: Order(Action.SET_POLICY, settings={"total_bytes": 1 << 20}),
    Action.SET_ADMINISTRATORS: Order(Action.SET_ADMINISTRATORS, administrators=TWO, need=2),
}


def is_done(case: Case, action: Action) -> bool:
    """Tell whether what *action* asks for is so."""
    match action:
        case Action.ENROLL:
            return case.service.stations.find(STRANGER.station.hex()) is not None
        case Action.REMOVE:
            return case.service.stations.find(BOB.station.hex()) is None
        case Action.DELETE:
            return not case.files()
        case Action.HOLD:
            return PARCEL.id in case.service.parcels.holds
        case Action.SET_PROFILE:
            return case.service.access.profile(BOB.station).kind == PERSON
        case Action.WITHDRAW_GRANT:
            refused = case.ask(signed(BOB, Target(routes.GET_MANIFEST, PARCEL.id)))
            return refused.code == "grant.withdrawn"
        case Action.SET_POLICY:
            return (case.data / "admin" / "policy").exists()
        case _:
            return charter_at(case.data).number == 1


@dataclass
class Sweep:
    """One action, broken off at each change of the disk in turn."""

    folder: Path
    action: Action
    every: int = 1
    points: int = 0
    done_by_next_start: int = 0
    faults: list[str] = field(default_factory=list)

    def prepare(self) -> Callable[[Case], object]:
        """Make a relay that one step parts from the act; return that step."""
        order = ORDERS[self.action]
        with governed_case(self.folder / "base") as case:
            for route, body in (
                (routes.PUT_ENVELOPE, PARCEL.envelope),
                (routes.PUT_MANIFEST, PARCEL.manifest),
            ):
                assert case.ask(signed(ALICE, Target(route, PARCEL.id), body)).status < 300
            self.proposal: SignedProposal = proposal_of(case, ANNA, order)
            if self.action is Action.HOLD:
                return lambda case: put_proposal(case, ANNA, self.proposal)
            result_of(put_proposal(case, ANNA, self.proposal))
            cast: SignedVote = vote_of(case, BEN, self.proposal)
        return lambda case: put_vote(case, BEN, cast)

    def run(self) -> None:
        """Kill at every point; judge after each."""
        step = self.prepare()
        for point in range(1, 1000, self.every):
            data = self.folder / "relay"
            shutil.rmtree(data, ignore_errors=True)
            shutil.copytree(self.folder / "base", data)
            ended = killed_in_child(data, step, point)
            if ended not in {0, KILLED}:
                self.faults.append(f"point {point}: the child ended with {ended}")
            self.judge(data, step, point)
            if ended == 0:
                return
            self.points += 1

    def judge(self, data: Path, step: Callable[[Case], Any], point: int) -> None:
        """Say what is wrong after a kill before change *point*, at the next start and after."""
        with governed_case(data) as case:
            self.done_by_next_start += is_done(case, self.action)
            for _ in range(2):
                result = result_of(step(case))
                if result.state is not State.DONE or not is_done(case, self.action):
                    self.faults.append(f"point {point}: it is {result.state}, and not done")
            acts = sum(
                1
                for entry in RecordReader(data / "audit").entries()
                if entry.event.act is ACTS[self.action]
                and entry.event.details.get(Detail.DIGEST) == self.proposal.digest
            )
            judgement = judge_record(RecordReader(data / "audit"))
        if acts != 1:
            self.faults.append(f"point {point}: it was recorded {acts} times")
        self.faults += [f"point {point}: {one.sentence}" for one in judgement.objections]
        left = [path.name for path in (data / "admin" / "open").iterdir()]
        if left:
            self.faults.append(f"point {point}: {len(left)} proposals are left open")


def killed_in_child(data: Path, step: Callable[[Case], object], point: int) -> int:
    """Let a child do *step*, killed before its change number *point*; return how it ended."""
    child = os.fork()
    if child == 0:
        try:
            with governed_case(data) as case:
                kill_at(point)
                step(case)
                os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at(point: int) -> None:
    """Let this process be killed before its change of the disk number *point*."""
    seen = 0

    def guarded(name: str) -> Any:
        original = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen >= point:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call

    for name in (*CHANGES, *MORE):
        setattr(os, name, guarded(name))


def main() -> None:
    """Sweep one action in one folder."""
    sweep = Sweep(Path(sys.argv[1]), Action(sys.argv[2]), int(sys.argv[3]))
    sweep.run()
    record = {key: value for key, value in asdict(sweep).items() if key != "folder"}
    sys.stdout.write(json.dumps(record))


if __name__ == "__main__":
    main()

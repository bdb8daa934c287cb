"""What a relay keeps of its administration: files, each written whole or not at all.

    DATA/admin/charter                        who administers it, and how many it takes
    DATA/admin/policy                         what they have set, CBOR
    DATA/admin/holds/<parcel>                 see `relay.holds`
    DATA/admin/open/<proposal>/               proposals that are not decided, or not carried out
        proposal, votes/<station>-<verdict>   as they were signed
        decided                               CBOR: it is carried, and must be carried out
    DATA/admin/closed/<time>-<proposal>/      all others, with what became of them in `outcome`
    DATA/audit/administration/<digest>        every charter, proposal and vote that the record
                                              speaks of, for auditors

A proposal leaves `open` by one rename, so it is carried out once however often that is tried.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare import canonical
from medshare.canonical import Fields
from medshare.disk.atomic import (
    fsync_folder,
    make_folder,
    opened_folder,
    read_file,
    storage_errors,
    write_at,
    write_file,
)
from medshare.errors import FormatError, StorageError
from medshare.record.administration import EVIDENCE
from medshare.relay.folder import ADMIN
from medshare.trust.charter import MAX_CHARTER, Charter, parse_charter
from medshare.trust.orders import SETTINGS
from medshare.trust.proposal import (
    MAX_PROPOSAL,
    MAX_VOTE,
    SignedProposal,
    SignedVote,
    parse_proposal,
    parse_vote,
)
from medshare.wire.admin_bodies import State

_SMALL: Final = 4096


@dataclass(frozen=True, slots=True)
class Decision:
    """That a proposal is carried: what must happen now, whatever comes between."""

    at: int
    size: int
    """How many entries the record had before."""


@dataclass(frozen=True, slots=True)
class Closing:
    """What became of a proposal."""

    state: State
    at: int
    code: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """A proposal as it lies here."""

    proposal: SignedProposal
    votes: tuple[SignedVote, ...]
    decision: Decision | None
    closing: Closing | None


class AdminStore:
    """The administration of the relay whose data folder is *data*."""

    def __init__(self, data: Path, audit: Path) -> None:
        self._folder = data / ADMIN
        self._evidence = audit / EVIDENCE
        self._open = self._folder / "open"
        self._closed = self._folder / "closed"
        self._known: tuple[bytes, Charter] | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process change the administration meanwhile."""
        make_folder(self._folder)
        with storage_errors("lock the administration"):
            file = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)

    # --- charter and policy --------------------------------------------------------------

    def charter(self) -> Charter | None:
        """Return the charter in force, or None when nobody was named yet.

        Raises StorageError when it is damaged: nobody is let in for that.
        """
        path = self._folder / "charter"
        if not path.exists():
            return None
        try:
            octets = read_file(path, limit=MAX_CHARTER, what="the charter")
            if self._known is None or self._known[0] != octets:
                self._known = octets, parse_charter(octets)
            return self._known[1]
        except FormatError as error:
            raise StorageError(
                "the charter of this relay is damaged", hint="restore admin/ from your backup"
            ) from error

    def put_charter(self, charter: Charter) -> None:
        """Let *charter* be in force, durably."""
        make_folder(self._folder)
        write_file(self._folder / "charter", charter.encode(), what="the charter")

    def settings(self) -> dict[str, int]:
        """Return the policy that the administrators have set; empty when they have not."""
        path = self._folder / "policy"
        if not path.exists():
            return {}
        value = canonical.decode(
            read_file(path, limit=_SMALL, what="the policy"), limit=_SMALL, what="the policy"
        )
        if not isinstance(value, dict) or not set(value) <= set(SETTINGS):
            raise StorageError("the policy of this relay is damaged")
        return value

    def put_settings(self, settings: dict[str, int]) -> None:
        """Let *settings* be the policy, durably."""
        write_file(self._folder / "policy", canonical.encode(settings), what="the policy")

    # --- evidence ------------------------------------------------------------------------

    def keep(self, digest: bytes, octets: bytes) -> None:
        """Keep what is named by *digest* beside the record, for good."""
        make_folder(self._evidence)
        with (
            storage_errors("keep evidence"),
            opened_folder(self._evidence, follow=True) as place,
            suppress(FileExistsError),
        ):
            write_at(place, digest.hex(), octets, mode=0o400, replace=False)

    # --- proposals -----------------------------------------------------------------------

    def open_ids(self) -> list[bytes]:
        """Return the proposals that are open."""
        return [bytes.fromhex(name) for name in _names(self._open) if len(name) == 64]

    def closed(self, most: int) -> list[tuple[bytes, State]]:
        """Return at most *most* of the others, the newest first, with what became of them."""
        found = []
        for name in reversed(_names(self._closed)[-most:] if most > 0 else []):
            outcome = _map(self._closed / name / "outcome")
            if outcome is not None:
                found.append((bytes.fromhex(name[-64:]), _closing(outcome).state))
        return found

    def find(self, digest: bytes) -> File | None:
        """Return the proposal named by *digest*, or None."""
        place = self._open / digest.hex()
        if not (place / "proposal").exists():
            ends = f"-{digest.hex()}"
            found = [name for name in _names(self._closed) if name.endswith(ends)]
            if not found:
                return None
            place = self._closed / found[0]
        return _load(place)

    def add(self, proposal: SignedProposal) -> None:
        """Let *proposal* be open, durably."""
        place = self._open / proposal.digest.hex()
        make_folder(place / "votes")
        write_file(place / "proposal", proposal.encoded, what="a proposal")

    def add_vote(self, vote: SignedVote) -> None:
        """Let *vote* count for the open proposal that it names, durably."""
        place = self._open / vote.content.proposal.hex() / "votes"
        verdict = "approve" if vote.content.approves else "reject"
        write_file(place / f"{vote.content.voter.hex()}-{verdict}", vote.encoded, what="a vote")

    def decide(self, digest: bytes, decision: Decision) -> None:
        """Note, durably, that the open proposal named by *digest* is carried."""
        data = canonical.encode({"at": decision.at, "size": decision.size})
        write_file(self._open / digest.hex() / "decided", data, what="a decision")

    def close(self, digest: bytes, closing: Closing) -> None:
        """Let the open proposal named by *digest* be closed, durably and for good."""
        place = self._open / digest.hex()
        data = canonical.encode(
            {"at": closing.at, "code": closing.code, "state": str(closing.state)}
        )
        write_file(place / "outcome", data, what="an outcome")
        make_folder(self._closed)
        with storage_errors("close a proposal"):
            os.rename(place, self._closed / f"{closing.at:012d}-{digest.hex()}")  # noqa: PTH104
        fsync_folder(self._closed)
        fsync_folder(self._open)

    def tidy(self) -> None:
        """Remove what a crash left of proposals that were never taken in."""
        for name in _names(self._open):
            if not (self._open / name / "proposal").exists():
                with storage_errors("remove an unfinished proposal"):
                    shutil.rmtree(self._open / name)


def _names(folder: Path) -> list[str]:
    with storage_errors("list the proposals"):
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _load(place: Path) -> File:
    """Return what lies in *place*; raise StorageError when it is damaged."""
    try:
        octets = read_file(place / "proposal", limit=MAX_PROPOSAL, what="a proposal")
        votes = [
            read_file(place / "votes" / name, limit=MAX_VOTE, what="a vote")
            for name in _names(place / "votes")
            if len(name) > 64 and name[64] == "-"
        ]
        decided = _map(place / "decided")
        outcome = _map(place / "outcome")
        return File(
            parse_proposal(octets),
            tuple(parse_vote(one) for one in votes),
            None if decided is None else Decision(decided.time("at"), decided.uint("size")),
            None if outcome is None else _closing(outcome),
        )
    except FormatError as error:
        raise StorageError("a stored proposal is damaged") from error


def _map(path: Path) -> Fields | None:
    if not path.exists():
        return None
    data = read_file(path, limit=_SMALL, what="a decision")
    return Fields(canonical.decode(data, limit=_SMALL, what="a decision"), what="a decision")


def _closing(fields: Fields) -> Closing:
    try:
        state = State(fields.text("state"))
    except ValueError as error:
        raise FormatError("an outcome has a state that is unknown here") from error
    return Closing(state, fields.time("at"), fields.text("code"))

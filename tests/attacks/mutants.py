"""Defences taken out of the source, one at a time, so that a test can be seen turning red.

`MUTANT=name python -m pytest -p tests.attacks.mutants …` runs tests against a medshare in which
one line reads otherwise, as it is imported; no file is changed.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Final

VARIABLE: Final = "MUTANT"


@dataclass(frozen=True)
class Mutant:
    """One line of a module that reads otherwise, and the test that must notice."""

    name: str
    family: str
    disabled: str
    """Which defence is gone, in words."""
    module: str
    old: str
    new: str
    test: str


_RECEIVER: Final = "tests/attacks/test_receiver_against_liar.py"
_SENDER: Final = "tests/attacks/test_sender_against_liar.py"

MUTANTS: Final = (
    Mutant(
        "signatures", "a relay alters", "signatures are not verified",
        "medshare.signed", "for key, (_, signature) in zip(keys, self.signatures, strict=True):",
        "for key, (_, signature) in ():",
        f"{_RECEIVER}::test_what_is_altered_is_refused_or_fetched_again"
        "[seal one bit flipped at the end]",
    ),
    Mutant(
        "identity", "a relay exchanges", "the id of the parcel is not compared",
        "medshare.sharing.incoming", "if envelope.parcel != parcel:", "if False:",
        f"{_RECEIVER}::test_what_is_exchanged_is_refused[a whole other parcel]",
    ),
    Mutant(
        "range", "a relay denies and invents", "the number of a chunk is not held to the parcel",
        "medshare.sharing.fetching", "if 0 <= index < self._work.total and index not in",
        "if index not in",
        f"{_RECEIVER}::test_lies_about_what_is_there[chunks are claimed beyond the end]",
    ),
    Mutant(
        "status", "a relay breaks the protocol", "any status below 300 is success",
        "medshare.transport.answers", "if status in {200, 204}:", "if status < 300:",
        f"{_RECEIVER}::test_lies_in_statuses_and_headers[status 201 for get-chunk]",
    ),
    Mutant(
        "deadline", "a relay falls silent", "only single waits are bounded, not their sum",
        "medshare.transport.connection",
        "return None if timeout is None else time.monotonic() + timeout + octets / _MIN_RATE",
        "return None",
        f"{_RECEIVER}::test_silence_ends[a body in drops]",
    ),
    Mutant(
        "length", "a relay floods", "a length is believed, however large",
        "medshare.transport.pool", "if length > limit:", "if False:",
        f"{_RECEIVER}::test_floods_are_not_taken[10 GiB, announced]",
    ),
    Mutant(
        "room", "a relay lies to senders", "chunks of no parcel of ours are looked up in the seal",
        "medshare.sharing.sending", "if record.index >= self._out.layout.chunk_count:", "if False:",
        f"{_SENDER}::test_lies_about_what_was_sent[chunks claimed beyond the end of the parcel]",
    ),
    Mutant(
        "recipient", "a relay forges receipts", "whose receipt it is does not count",
        "medshare.sharing.receipts", "if receipt.recipient != recipient or", "if",
        f"{_SENDER}::test_one_recipient_does_not_sign_for_another",
    ),
    Mutant(
        "seal", "several versions", "a second seal is not held against the first",
        "medshare.sharing.receiving", "if self._unsealed(seal):", "if False:",
        "tests/attacks/test_versions.py"
        "::test_what_was_verified_is_not_receipted_under_another_seal",
    ),
    Mutant(
        "boot", "without power", "what was written before a boot is trusted",
        "medshare.resume", "if boot is not None and (boot != written_in or not boot):", "if False:",
        "tests/attacks/test_power_loss.py::test_a_receiver_without_power",
    ),
    Mutant(
        "lock", "a machine that fails", "two that begin at once do not wait for each other",
        "medshare.sharing.send",
        'with exclusive(station.home / _LOCK, wait=True, what="the outbox is in use"):', "if True:",
        "tests/attacks/test_machine.py"
        "::test_two_sends_of_one_study_at_once[the first time]",
    ),
    Mutant(
        "replacement", "retransmission", "a damaged chunk is not asked for anew",
        "medshare.sharing.fetching", "if self._damage.must_be_replaced(count):", "if False:",
        "tests/attacks/test_retransmission.py"
        "::test_without_the_sender_the_files_are_named_and_the_rest_is_kept",
    ),
    Mutant(
        "commitment", "the sealed format", "the key is not held to its commitment",
        "medshare.sealing", 'committed.require(found, what="the parcel key")', "found.hex",
        "tests/test_format_attacks.py::test_t16_two_recipients_cannot_be_given_two_keys",
    ),
    Mutant(
        "dots", "published faults", "a name may begin with a dot",
        "medshare.manifest", 'if name[0] == ".":', "if False:",
        "tests/test_disk_hostile.py::test_t01_t02_t03_no_way_in_takes_a_hostile_name",
    ),
    Mutant(
        "nonce", "abuse of the relay", "a signature may be used twice",
        "medshare.httpsig", "if nonce in used or", "if",
        "tests/attacks/test_abuse.py::test_replayed_signatures",
    ),
    Mutant(
        "wider", "rights", "what is passed on is not held to what its signer was granted",
        "medshare.trust.lineage", "if not any(bound.covers(given) for bound in bounds):",
        "if False:", "tests/test_lineage.py::test_nobody_passes_on_more_than_he_has",
    ),
    Mutant(
        "vote", "a quorum", "a vote counts for whatever proposal it is handed in for",
        "medshare.relay.administration", "if vote.content.proposal != digest:", "if False:",
        "tests/test_administration.py::test_a_vote_for_one_proposal_serves_for_no_other",
    ),
    Mutant(
        "step", "signing in", "a code that was accepted is not used up",
        "medshare.relay.second_factor", "if step is None or step <= row.counter:",
        "if step is None:", "tests/test_second_factor.py::test_a_code_is_accepted_once",
    ),
    Mutant(
        "mode", "secrets", "small files are made for everybody to read",
        "medshare.disk.atomic",
        "def write_file(path: Path, data: bytes, *, mode: int = 0o600,",
        "def write_file(path: Path, data: bytes, *, mode: int = 0o644,",
        "tests/test_station.py::test_everything_is_private_whatever_the_umask",
    ),
    Mutant(
        "bounds", "damaged input", "a list on the wire may be cut off",
        "medshare.wire.bodies", "if len(data) % size:", "if False:",
        "tests/test_wire.py::test_repeated_and_huge_indexes_are_refused",
    ),
    Mutant(
        "pointer", "killed at any call", "a parcel that was sealed is not taken up again",
        "medshare.sharing.outgoing", '"abandoned" in history.milestones', "history.milestones",
        "tests/attacks/test_crash.py::test_killed_at_a_call[collector-8-20]",
    ),
)  # fmt: skip


class _Loader(SourceFileLoader):
    """Compiles the module of a mutant as if its source read otherwise."""

    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the changed source; no cache is read or written."""
        path = self.get_filename(fullname)
        source = self.get_data(path).decode("utf-8")
        if source.count(self._mutant.old) != 1:
            raise ImportError(f"{fullname} does not hold what mutant {self._mutant.name} changes")
        return compile(source.replace(self._mutant.old, self._mutant.new), path, "exec")


class _Finder(MetaPathFinder):
    """Finds the module of a mutant before anybody else does."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the changed module, and None for all others."""
        if fullname != self._mutant.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self._mutant)
        return spec


def install() -> None:
    """Let the mutant that the environment names take the place of its module."""
    name = os.environ.get(VARIABLE)
    if name is not None:
        mutant = next(one for one in MUTANTS if one.name == name)
        if mutant.module in sys.modules:
            raise ImportError(f"{mutant.module} was imported already")
        sys.meta_path.insert(0, _Finder(mutant))


install()

"""What is tried against medshare, and the test that holds each attempt; docs/attacks.md shows it.

Lies of a relay and targets of the fuzzer come from their own tables; `evidence_rows` has the rest.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from medshare import errors
from medshare.cli import exit_code
from medshare.errors import MedshareError
from tests.attacks.evidence_rights import ROWS as RIGHTS
from tests.attacks.evidence_rows import ROWS
from tests.attacks.figures import table
from tests.attacks.fuzz_targets import all_targets
from tests.attacks.lies import EXCHANGED, altered
from tests.attacks.lies_of_protocol import FLOODS, HEADS, SILENCE, STATUSES
from tests.attacks.lies_of_state import STATES
from tests.attacks.lies_to_senders import RECEIPTS, UPLOADS
from tests.attacks.mutants import MUTANTS
from tests.attacks.published import PUBLISHED

_RECEIVER: Final = "tests/attacks/test_receiver_against_liar.py"
_FUZZ: Final = "tests/test_fuzz.py::test_damaged_input_is_refused_in_a_documented_way"
_SENDER: Final = "tests/attacks/test_sender_against_liar.py"


@dataclass(frozen=True)
class Evidence:
    """One attack or fault: what is tried, what medshare answers, and the tests that hold it."""

    name: str
    family: str
    tried: str
    answer: str
    tests: tuple[str, ...]
    """Names of functions, or identifiers of pytest where one of many cases is meant."""


class Lie(Protocol):
    """A lie of the tables."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def tried(self) -> str:
        """What is done."""

    @property
    def answers(self) -> tuple[str, ...]:
        """Beginnings of the codes that may answer it."""


def all_errors(kind: type[MedshareError] = MedshareError) -> Iterator[type[MedshareError]]:
    """Yield every class of error."""
    yield kind
    for sub in kind.__subclasses__():
        yield from all_errors(sub)


_EXITS: Final = {
    kind.code: exit_code(kind("")) for kind in all_errors() if kind.__module__ == errors.__name__
}


def answer_of(codes: Sequence[str]) -> str:
    """Return what the codes mean: `exit 3 (integrity or format)`."""
    by_exit: dict[str, list[str]] = {}
    for code in codes:
        short = code
        while short and short not in _EXITS:
            short = short.rpartition(".")[0]
        word = f"exit {_EXITS[short]}" if short else ""
        by_exit.setdefault(word, []).append(code)
    return " or ".join(
        f"{word} ({', '.join(found)})" if word else ", ".join(found)
        for word, found in by_exit.items()
    )


def _lies(family: str, test: str, lies: Iterable[Lie]) -> list[Evidence]:
    return [
        Evidence(one.name, family, one.tried, answer_of(one.answers), (f"{test}[{one.name}]",))
        for one in lies
    ]


def all_evidence() -> tuple[Evidence, ...]:
    """Return everything that is tried, by family."""
    found = [
        *_lies(
            "a relay alters",
            f"{_RECEIVER}::test_what_is_altered_is_refused_or_fetched_again",
            altered(),
        ),
        *_lies("a relay exchanges", f"{_RECEIVER}::test_what_is_exchanged_is_refused", EXCHANGED),
        *_lies("a relay denies and invents", f"{_RECEIVER}::test_lies_about_what_is_there", STATES),
        *_lies(
            "a relay breaks the protocol",
            f"{_RECEIVER}::test_lies_in_statuses_and_headers",
            STATUSES + HEADS,
        ),
        *_lies("a relay falls silent", f"{_RECEIVER}::test_silence_ends", SILENCE),
        *_lies("a relay floods", f"{_RECEIVER}::test_floods_are_not_taken", FLOODS),
        *_lies("a relay lies to senders", f"{_SENDER}::test_lies_about_what_was_sent", UPLOADS),
        *_lies("a relay forges receipts", f"{_SENDER}::test_receipts_that_prove_nothing", RECEIPTS),
        *(Evidence(*row) for row in (*ROWS, *RIGHTS)),
        *(
            Evidence(
                f"damaged input: {target.name}",
                "damaged input",
                "good inputs, flipped, cut, spliced and made up",
                f"{', '.join(sorted(kind.code for kind in target.refusals))}, or accepted",
                (f"{_FUZZ}[{target.name}]",),
            )
            for target in all_targets()
        ),
        *(
            Evidence(
                f"{one.number}: {one.concern}",
                "published faults",
                one.advisory,
                "does not happen; see published-faults.md",
                one.tests,
            )
            for one in PUBLISHED
        ),
    ]
    return tuple(found)


_HEAD: Final = """# Attacks and faults, and what medshare answers

What is tried in the tests, family by family, with the test that holds it. This page is written by
`python tools/write_docs.py` from `tests/attacks/evidence.py`. `make attack` carries everything out,
with a kill at every single call and a loss of power after every single change, prints the verdicts,
writes them to `reports/attacks.json`, and ends with 1 if one of them is not `held`. Whose the
attacks are is in the [threat model](threat-model.md), whose the faults were in
[published faults](published-faults.md).

After each attack of a relay the same command runs again with an honest one and must complete the
transfer; nothing may have a final name before that. `exit` numbers are those of
[exit-codes.md](exit-codes.md).

## How much of it
{figures}
A test by its name: `.venv/bin/python -m pytest tests -k NAME`. Kills come before each call that
changes the disk or the network; how many calls a run makes differs a little from one run to the
next, so that a few of the last moments may never come.

## None of it green by accident

For each family a defence is taken out of the source, and the test must turn red
(`test_without_its_defence_the_attack_succeeds`):

| family | what is taken out | which test turns red |
|---|---|---|
"""


def attacks_page() -> str:
    """Return docs/attacks.md."""
    found = all_evidence()
    lines = [_HEAD.replace("{figures}", table())]
    for mutant in MUTANTS:
        name = mutant.test.rpartition("::")[2].partition("[")[0]
        lines.append(f"| {mutant.family} | {_cell(mutant.disabled)} | `{name}` |\n")
    families = Counter(one.family for one in found)
    for family, count in families.items():
        lines.append(f"\n## {family.capitalize()}: {count}\n\n")
        lines.append(
            "| attack | what is tried | what medshare answers | held by |\n|---|---|---|---|\n"
        )
        lines += [_row(one) for one in found if one.family == family]
    return "".join(lines)


def _row(one: Evidence) -> str:
    names = dict.fromkeys(test.rpartition("::")[2].partition("[")[0] for test in one.tests)
    tests = " ".join(f"`{name}`" for name in names)
    return f"| {_cell(one.name)} | {_cell(one.tried)} | {_cell(one.answer)} | {tests} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")

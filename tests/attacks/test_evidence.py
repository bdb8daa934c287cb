"""The page of attacks says what the tests do; every test that it names exists."""

import json
from collections import Counter

from tests.attacks.__main__ import defined_tests, verdict, wanted_tests
from tests.attacks.collector import Collector, is_wanted
from tests.attacks.evidence import Evidence, all_evidence, answer_of, attacks_page
from tests.attacks.figures import KEPT, lines_of
from tests.attacks.mutants import MUTANTS
from tests.conftest import ROOT


def test_the_page_is_the_written_one() -> None:
    """docs/attacks.md is what `python tools/write_docs.py` writes."""
    assert (ROOT / "docs/attacks.md").read_text("utf-8") == attacks_page()


def test_every_test_of_the_evidence_exists() -> None:
    """No row points at a test that was renamed or removed."""
    named = {test.rpartition("::")[2].partition("[")[0] for test in wanted_tests(all_evidence())}
    assert named - set(defined_tests()) == set()


def test_tests_are_found_by_name_or_by_case() -> None:
    """A name means all cases of a function, wherever it is defined; an identifier one case."""
    wanted = {"test_a", "tests/x.py::test_b[1]"}
    for nodeid in ("x.py::test_a", "x.py::TestY::test_a[2]", "tests/x.py::test_b[1]"):
        assert is_wanted(nodeid, wanted)
    for nodeid in ("x.py::test_ab", "tests/x.py::test_b[2]", "x.py::test_b[1]"):
        assert not is_wanted(nodeid, wanted)


def test_the_kept_figures_are_of_a_run_in_which_nothing_broke() -> None:
    """Everything held, each defence was missed, and each figure comes with its command."""
    figures = json.loads(KEPT.read_text("utf-8"))
    for tried, as_they_should in (figures["attacks"], figures["mutants"]):
        assert tried == as_they_should > 0
    assert figures["fuzz"]["broken"] == 0
    assert [one["faults"] for one in figures["sweeps"]] == [[]] * 5
    assert all(what and much and how for what, much, how in lines_of(figures))


def test_there_are_many_and_none_twice() -> None:
    """More than a hundred and twenty, each with a name of its own in its family."""
    names = Counter((one.family, one.name) for one in all_evidence())
    assert len(names) >= 120
    assert max(names.values()) == 1


def test_every_family_has_its_mutant() -> None:
    """For each family a defence is taken out to see a test turn red."""
    assert {one.family for one in all_evidence()} == {mutant.family for mutant in MUTANTS}


def test_answers_name_their_exit_codes() -> None:
    """Codes are grouped by the number with which a command ends."""
    assert answer_of(("integrity", "format", "transfer.unavailable")) == (
        "exit 3 (integrity, format) or exit 5 (transfer.unavailable)"
    )
    assert answer_of(("delivered",)) == "delivered"
    assert answer_of(("access.denied.signature",)) == "exit 4 (access.denied.signature)"


def test_a_verdict_is_no_better_than_the_worst_case() -> None:
    """One failed case breaks an attack, a missing test does too, and skipped ones do not count."""
    one = Evidence("n", "f", "t", "a", ("test_x",))
    found = Collector({"a.py::test_x[1]": "passed", "a.py::test_x[2]": "passed"})
    assert verdict(one, found) == ("held", "a")
    found.outcomes["a.py::test_x[2]"] = "failed"
    found.reasons["a.py::test_x[2]"] = "assert 1 == 2\nmore"
    assert verdict(one, found) == ("broken", "assert 1 == 2")
    assert verdict(one, Collector({"a.py::test_x": "skipped"}))[0] == "not tried"
    assert verdict(one, Collector({"a.py::test_xy": "passed"}))[0] == "broken"

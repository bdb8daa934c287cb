"""Carries every attack and fault out, prints the verdicts, and writes them down.

    python -m tests.attacks [--quick] [-n PROCESSES]

Writes reports/attacks.json (name, family, tried, answer, verdict), reports/fuzz.json and, of a
full run, tests/attacks/figures.json, which docs/attacks.md shows.  Ends with 1 when something
broke, and with 0 otherwise.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.attacks.collector import OUTCOMES, WANTED, Collector
from tests.attacks.evidence import Evidence, all_evidence, attacks_page
from tests.attacks.figures import KEPT, Figures, figures_of, lines_of
from tests.conftest import ROOT

REPORTS: Final = ROOT / "reports"
_DEFINED: Final = re.compile(r"^ *def (test_\w+)\(", re.MULTILINE)
_BROKEN: Final = 1
_FUZZ_SECONDS: Final = 300
MUTANTS: Final = "test_without_its_defence_the_attack_succeeds"


def defined_tests() -> dict[str, str]:
    """Return the file of every test by its name."""
    return {
        name: str(file.relative_to(ROOT))
        for file in sorted((ROOT / "tests").rglob("*.py"))
        for name in _DEFINED.findall(file.read_text("utf-8"))
    }


def verdict(one: Evidence, collector: Collector) -> tuple[str, str]:
    """Return `held`, `broken` or `not tried`, and what medshare answered."""
    outcomes: dict[str, str] = {}
    for test in one.tests:
        outcomes |= collector.of(test) or {test: "missing"}
    failed = [name for name, outcome in outcomes.items() if outcome in {"failed", "missing"}]
    if failed:
        reason = collector.reasons.get(failed[0], "the test did not run")
        return "broken", reason.splitlines()[0][:200]
    if "passed" not in outcomes.values():
        return "not tried", "not possible on this machine"
    return "held", one.answer


def wanted_tests(evidence: Sequence[Evidence]) -> list[str]:
    """Return every test that the evidence names, and those of the mutants, once."""
    named = dict.fromkeys(test for one in evidence for test in one.tests)
    return [*named, MUTANTS]


def show(console: Console, verdicts: list[tuple[Evidence, str, str]]) -> None:
    """Print one table."""
    table = Table(title="attacks and faults", show_lines=False)
    for heading in ("attack", "what was tried", "what medshare answered", "verdict"):
        table.add_column(heading, overflow="fold")
    family = ""
    for one, found, answer in verdicts:
        if one.family != family:
            family = one.family
            table.add_section()
            table.add_row(f"[bold]{family}[/bold]")
        colour = {"held": "green", "broken": "bold red"}.get(found, "yellow")
        table.add_row(one.name, one.tried, answer, f"[{colour}]{found}[/{colour}]")
    console.print(table)


def run(wanted: Sequence[str], *, processes: str, full: bool) -> Collector:
    """Run tests in processes of their own; return what became of them."""
    plain = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--no-header", "-rN"]
    words = [*plain, "-p", "tests.attacks.collector", "-n", processes, "--dist", "load"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcomes"
        listing = Path(folder) / "wanted"
        listing.write_text(json.dumps(list(wanted)), "utf-8")
        environment = {**os.environ, OUTCOMES: str(path), WANTED: str(listing)}
        if full:
            environment["FULL_SWEEP"] = "1"
        subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            cwd=ROOT,
            env=environment,
            check=False,
        )
        return Collector.read(path) if path.exists() else Collector()


def main() -> int:
    """Do all of it; return the exit code."""
    parser = argparse.ArgumentParser(prog="make attack")
    parser.add_argument("--quick", action="store_true", help="samples instead of every call")
    parser.add_argument("-n", default="2", help="processes")
    asked = parser.parse_args()
    evidence = all_evidence()
    collector = run(wanted_tests(evidence), processes=asked.n, full=not asked.quick)
    fuzzed = fuzz(_FUZZ_SECONDS // 10 if asked.quick else _FUZZ_SECONDS)
    verdicts = [(one, *verdict(one, collector)) for one in evidence]
    console = Console(width=max(120, Console().width))
    show(console, verdicts)
    figures = counted(verdicts, collector, fuzzed)
    _write(verdicts, figures, keep=not asked.quick)
    for what, much, _ in lines_of(figures):
        console.print(f"{what}: {much}")
    (tried, held), (taken, red) = figures["attacks"], figures["mutants"]
    return 0 if (tried, taken, fuzzed["broken"]) == (held, red, 0) else _BROKEN


def fuzz(seconds: int) -> dict[str, int]:
    """Feed every decoder for its part of *seconds*; return how much that was."""
    words = ["-m", "tests.attacks.fuzz", "--seconds", str(seconds)]
    subprocess.run([sys.executable, *words], cwd=ROOT, check=False)
    targets = json.loads((REPORTS / "fuzz.json").read_text("utf-8"))["targets"]
    return {
        "decoders": len(targets),
        "executions": sum(one["executions"] + one["guided"] for one in targets),
        "broken": sum(bool(one["findings"]) for one in targets),
        "seconds": seconds,
    }


def counted(
    verdicts: list[tuple[Evidence, str, str]], collector: Collector, fuzzed: dict[str, int]
) -> Figures:
    """Return the figures of a run."""
    counts = Counter(found for _, found, _ in verdicts)
    mutants = collector.of(MUTANTS).values()
    return figures_of(
        collector.figures,
        attacks=(counts["held"] + counts["broken"], counts["held"]),
        mutants=(len(mutants), Counter(mutants)["passed"]),
        fuzzed=fuzzed,
    )


def _write(verdicts: list[tuple[Evidence, str, str]], figures: Figures, *, keep: bool) -> None:
    REPORTS.mkdir(exist_ok=True)
    records = [
        {
            "name": one.name,
            "family": one.family,
            "tried": one.tried,
            "answer": answer,
            "verdict": found,
        }
        for one, found, answer in verdicts
        if found != "not tried"
    ]
    (REPORTS / "attacks.json").write_text(json.dumps(records, indent=1) + "\n")
    if keep:
        KEPT.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
        Path(ROOT / "docs/attacks.md").write_text(attacks_page(), "utf-8")


if __name__ == "__main__":
    sys.exit(main())

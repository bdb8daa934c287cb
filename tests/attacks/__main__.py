"""Carries every attack and fault out, prints the verdicts, and writes them down.

    python -m tests.attacks [--quick] [-n PROCESSES]

Writes reports/attacks.json (name, family, tried, answer, verdict), reports/attack_figures.json
and docs/attacks.md.  Ends with 1 when something broke, and with 0 otherwise.
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
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.attacks.collector import OUTCOMES, WANTED, Collector
from tests.attacks.evidence import Evidence, all_evidence, attacks_page
from tests.conftest import ROOT

REPORTS: Final = ROOT / "reports"
_DEFINED: Final = re.compile(r"^ *def (test_\w+)\(", re.MULTILINE)
_BROKEN: Final = 1
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


def summed(figures: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what all sweeps did together."""
    sweeps = [one for one in figures if "role" in one]
    totals: dict[str, Any] = {
        "crash points": sum(one["points"] for one in sweeps),
        "kills": sum(one["kills"] for one in sweeps),
        "restarts": sum(one["restarts"] for one in sweeps),
        "chunks moved twice, at most": max((one["most_resent"] for one in sweeps), default=0),
        "bytes moved twice, at most": max((one["most_bytes_resent"] for one in sweeps), default=0),
    }
    others = {name: value for one in figures if "role" not in one for name, value in one.items()}
    bits = [value for name, value in others.items() if name.startswith("bits flipped")]
    totals["bits flipped"] = sum(bits)
    totals |= {name: value for name, value in others.items() if "power" in name}
    return {**totals, "sweeps": sweeps}


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
    verdicts = [(one, *verdict(one, collector)) for one in evidence]
    console = Console(width=max(120, Console().width))
    show(console, verdicts)
    return _write(console, verdicts, collector)


def _write(
    console: Console, verdicts: list[tuple[Evidence, str, str]], collector: Collector
) -> int:
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
    figures = summed(collector.figures)
    mutants = collector.of(MUTANTS)
    figures["mutants that turned a test red"] = Counter(mutants.values())["passed"]
    (REPORTS / "attack_figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    Path(ROOT / "docs/attacks.md").write_text(attacks_page(), "utf-8")
    counts = Counter(found for _, found, _ in verdicts)
    for name, value in figures.items():
        if name != "sweeps":
            console.print(f"{name}: {value}")
    console.print(", ".join(f"{count} {found}" for found, count in counts.items()))
    green = set(mutants.values()) <= {"passed"}
    return 0 if not counts["broken"] and green else _BROKEN


if __name__ == "__main__":
    sys.exit(main())

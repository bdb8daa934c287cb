"""Kill -9 at every call that matters, and at random: the same command completes the work.

`make attack` kills at each call in turn (FULL_SWEEP=1); `make test` at a sample of them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.service, pytest.mark.slow]

FULL = os.environ.get("FULL_SWEEP") == "1"
LONGEST = 3600 if FULL else 300  # seconds, so that a broken test ends
RecordProperty = Callable[[str, Any], None]


def sweep(role: str, *, every: int = 1, rounds: int = 0) -> dict[str, Any]:
    """Run a sweep in a process of its own, which may fork; return its report."""
    words = ["--role", role, "--every", str(1 if FULL else every), "--rounds", str(rounds)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.attacks.crash", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=True,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize(
    ("role", "every", "least"),
    [("sender", 8, 50), ("receiver", 15, 90), ("collector", 8, 20), ("relay", 28, 150)],
)
def test_killed_at_a_call(
    role: str, every: int, least: int, record_property: RecordProperty
) -> None:
    """Killed before any call, run again: the same result, no chunk in vain but those in flight."""
    report = sweep(role, every=every)
    record_property("figures", report)
    assert report["faults"] == []
    assert sum(report["calls"].values()) > least
    assert report["kills"] + report["unreached"] == report["points"] > 0
    assert report["unreached"] <= max(1, report["points"] // 10)
    assert report["most_resent"] <= 4


def test_killed_at_random(record_property: RecordProperty) -> None:
    """All three killed at random moments, again and again, while they work together."""
    report = sweep("random", rounds=300 if FULL else 5)
    record_property("figures", report)
    assert report["faults"] == []
    assert report["kills"] > (300 if FULL else 0)

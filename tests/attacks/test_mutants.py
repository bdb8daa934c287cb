"""None of the attacks is held by accident: without its defence, the test turns red."""

import os
import subprocess
import sys

import pytest

from tests.attacks.mutants import MUTANTS, VARIABLE, Mutant
from tests.conftest import ROOT

pytestmark = [pytest.mark.service, pytest.mark.slow]

PATIENCE = 300  # seconds, so that a broken test ends
TESTS_FAILED = 1


def run_pytest(test: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run one test in a process of its own, as `make test` does: a sample is enough to turn red."""
    words = ["-m", "pytest", "-p", "tests.attacks.mutants", "-p", "no:cacheprovider", "-q", "-x"]
    left_out = ("PYTEST_", "FULL_SWEEP")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return subprocess.run(
        [sys.executable, *words, test],
        cwd=ROOT,
        env={**kept, "PYTHONPATH": str(ROOT / "src"), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_without_its_defence_the_attack_succeeds(mutant: Mutant) -> None:
    """With one line of the source reading otherwise, the test that guards it fails."""
    done = run_pytest(mutant.test, **{VARIABLE: mutant.name})
    assert done.returncode == TESTS_FAILED, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    assert "error" not in done.stdout.splitlines()[-1]


def test_every_mutant_is_of_another_kind() -> None:
    """Names are unique, and each family of evidence has its own."""
    assert len({one.name for one in MUTANTS}) == len(MUTANTS)
    assert len({one.family for one in MUTANTS}) == len(MUTANTS)

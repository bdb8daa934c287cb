"""Every claim of the threat model names tests; they exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_test_that_the_threat_model_names_exists() -> None:
    """A claim whose test was renamed or removed is found here, and there are many claims."""
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "threat-model.md").read_text("utf-8")))
    defined: set[str] = set()
    for file in (ROOT / "tests").rglob("*.py"):
        defined.update(re.findall(r"def (test_\w+)\(", file.read_text("utf-8")))
    assert len(named) > 60
    assert named - defined == set()

"""docs/json-events.md has a heading for each record, and one only."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_record_has_its_section() -> None:
    """Each `"event": "…"` in the source has a heading in docs/json-events.md."""
    page = (ROOT / "docs" / "json-events.md").read_text(encoding="utf-8")
    headings = " ".join(line for line in page.splitlines() if line.startswith("### "))
    sources = [file.read_text("utf-8") for file in (ROOT / "src").rglob("*.py")]
    named = {name for code in sources for name in re.findall(r'"?event"?[:=] ?"(\w+)"', code)}
    assert len(named) > 10
    assert {name for name in named if f"`{name}`" not in headings} == set()


def test_no_record_is_described_twice() -> None:
    """Each name has one heading in docs/json-events.md."""
    page = (ROOT / "docs" / "json-events.md").read_text(encoding="utf-8")
    headings = [line for line in page.splitlines() if line.startswith("### ")]
    names = re.findall(r"`(\w+)`", " ".join(headings))
    assert sorted(names) == sorted(set(names))

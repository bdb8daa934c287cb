"""Writes the pages of docs/ that come from tables in the code."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
sys.path[:0] = [str(DOCS.parent / "src"), str(DOCS.parent)]

from medshare.cli import exit_codes_page  # noqa: E402  # after the path is set
from tests.attacks.evidence import attacks_page  # noqa: E402
from tests.attacks.published import published_page  # noqa: E402

if __name__ == "__main__":
    (DOCS / "exit-codes.md").write_text(exit_codes_page(), encoding="utf-8")
    (DOCS / "attacks.md").write_text(attacks_page(), encoding="utf-8")
    (DOCS / "published-faults.md").write_text(published_page(), encoding="utf-8")

"""Published faults of programs like this one, and the tests that hold them here.

`tools/write_docs.py` writes docs/published-faults.md from these tables.
"""

from tests.attacks.published_access import OF_ACCESS
from tests.attacks.published_content import OF_CONTENT

PUBLISHED = (*OF_CONTENT, *OF_ACCESS)

_HEAD = """# Published faults, and what holds them here

Other programs that move files, keep medical images or encrypt data had these faults. Each is a test
here, or there is a reason why it cannot concern medshare. This page is written by
`python tools/write_docs.py` from `tests/attacks/published.py`; a test compares the two, and looks
for every test that is named. Who can do what is in the [threat model](threat-model.md).

Versions of dependencies with known faults are excluded by the bounds in `pyproject.toml`, where the
fault stands beside the bound. `make audit` looks up all advisories (`pip-audit`), which needs a
network, and is no part of `make test`: run it before each release.

| | where it was | what it would be here | held by | remarks |
|---|---|---|---|---|
"""


def published_page() -> str:
    """Return docs/published-faults.md."""
    rows = []
    for one in PUBLISHED:
        tests = " ".join(f"`{test}`" for test in one.tests) or "–"
        rows.append(f"| {one.number} | {one.advisory} | {one.concern} | {tests} | {one.reason} |\n")
    return _HEAD + "".join(rows)

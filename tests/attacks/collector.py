"""A plugin of pytest that runs the tests of the evidence, and writes down what became of them.

`python -m pytest -p tests.attacks.collector` reads names of tests from the file that `WANTED`
names, and writes the file that `COLLECTOR` names.
"""

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

OUTCOMES: Final = "COLLECTOR"
WANTED: Final = "WANTED"


@dataclass
class Collector:
    """What became of every test, by its identifier."""

    outcomes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    figures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, report: pytest.TestReport) -> None:
        """Keep the outcome of one phase of a test: the worst of all counts."""
        worse = report.outcome != "passed" or report.nodeid not in self.outcomes
        if worse and self.outcomes.get(report.nodeid) != "failed":
            self.outcomes[report.nodeid] = report.outcome
        if report.outcome == "failed":
            crash = getattr(report.longrepr, "reprcrash", None)
            self.reasons[report.nodeid] = str(getattr(crash, "message", report.longrepr))
        if report.when == "call":
            for name, value in report.user_properties:
                if name == "figures" and isinstance(value, dict):
                    self.figures.append(value)

    def of(self, test: str) -> dict[str, str]:
        """Return the outcomes of a test: a function with all its cases, or one case."""
        if "::" in test:
            return {name: found for name, found in self.outcomes.items() if name == test}
        wanted = re.compile(rf".*::{re.escape(test)}(\[.*\])?", re.DOTALL)
        return {name: found for name, found in self.outcomes.items() if wanted.fullmatch(name)}

    def write(self, path: Path) -> None:
        """Write all of it down."""
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, path: Path) -> "Collector":
        """Return what was written down."""
        return cls(**json.loads(path.read_text("utf-8")))


_collector = Collector()


def is_wanted(nodeid: str, wanted: set[str]) -> bool:
    """Tell whether a test is named, by its identifier or by the name of its function."""
    function = nodeid.partition("[")[0].rpartition("::")[2]
    return nodeid in wanted or function in wanted


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that are wanted."""
    if path := os.environ.get(WANTED):
        wanted = set(json.loads(Path(path).read_text("utf-8")))
        left = [item for item in items if not is_wanted(item.nodeid, wanted)]
        items[:] = [item for item in items if is_wanted(item.nodeid, wanted)]
        config.hook.pytest_deselected(items=left)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep every report; with several processes, the first of them hears of all."""
    _collector.add(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what was kept, in the first process alone."""
    path = os.environ.get(OUTCOMES)
    if path is not None and not hasattr(session.config, "workerinput"):
        _collector.write(Path(path))

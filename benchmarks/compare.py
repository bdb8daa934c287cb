"""Compare a report of `benchmarks.bench` with the stored baseline; exit 1 when it got worse.

    python -m benchmarks.bench > reports/bench.json
    python -m benchmarks.compare reports/bench.json

Compared are ratios to the bare floor of the same run, not seconds: they hold on another
machine, and on one that is busy with something else.  A ratio may grow by 15% before it
counts; with `--write` the report becomes the baseline.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.tables import table

BASELINE: Final = Path(__file__).with_name("baseline.json")
TOLERANCE: Final = 0.15


@dataclass(frozen=True, slots=True)
class Change:
    """One ratio then and now; None where it was not measured."""

    name: str
    before: float | None
    now: float | None

    @property
    def growth(self) -> float | None:
        """How much larger the ratio is now, as a share of what it was."""
        if self.before is None or self.now is None:
            return None
        return self.now / self.before - 1

    def verdict(self, tolerance: float) -> str:
        """Return `worse`, `better`, `same`, `new` or `missing`."""
        if self.before is None:
            return "new"
        if self.growth is None:
            return "missing"
        if self.growth > tolerance:
            return "worse"
        return "better" if self.growth < -tolerance else "same"


def changes(before: Mapping[str, float], now: Mapping[str, float]) -> list[Change]:
    """Return every ratio of either report, in the order of the baseline."""
    names = dict.fromkeys([*before, *now])
    return [Change(name, before.get(name), now.get(name)) for name in names]


def failed(found: list[Change], tolerance: float) -> list[str]:
    """Return the names of what got worse, or was not measured any more."""
    return [one.name for one in found if one.verdict(tolerance) in {"worse", "missing"}]


def markdown(found: list[Change], tolerance: float) -> str:
    """Return the comparison as a table."""
    rows = [
        [
            one.name,
            _number(one.before),
            _number(one.now),
            "" if one.growth is None else f"{one.growth:+.0%}",
            one.verdict(tolerance),
        ]
        for one in found
    ]
    return table(["ratio", "baseline", "now", "change", ""], rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def baseline_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a report: the ratios, and where they come from."""
    machine = {name: report["after"][name] for name in ("cpu", "cores", "system", "python")}
    ratios = {name: round(value, 3) for name, value in report["ratios"].items()}
    return {"size": report["size"], "machine": machine, "ratios": ratios}


def main() -> int:
    """Read both reports, print the table, return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("report", type=Path)
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    parser.add_argument("--write", action="store_true", help="make the report the baseline")
    given = parser.parse_args()
    for needed in (given.report, *(() if given.write else (given.baseline,))):
        if not needed.exists():
            parser.error(f"there is no {needed}; make bench measures what is compared")
    report = json.loads(given.report.read_text(encoding="utf-8"))
    if given.write:
        text = json.dumps(baseline_of(report), indent=2)
        given.baseline.write_text(f"{text}\n", encoding="utf-8")
        return 0
    before = json.loads(given.baseline.read_text(encoding="utf-8"))
    found = changes(before["ratios"], report["ratios"])
    print(markdown(found, given.tolerance))
    bad = failed(found, given.tolerance)
    if bad:
        print(f"\nworse than the baseline by more than {given.tolerance:.0%}: {'; '.join(bad)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

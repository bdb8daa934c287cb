"""Draw a comparison of peers: one panel an input, bars of wall time with the spread of all runs.

    python -m benchmarks.plot reports/peers.json docs/images/peers.svg

Needs matplotlib, which nothing else here does: `pip install matplotlib`.
"""

import argparse
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

OURS: Final = "#1f6f8b"
FLOOR: Final = "#b0b0b0"
PEERS: Final = "#d9a05b"
_MIB: Final = 1024 * 1024


def colour(tool: str) -> str:
    """Return the colour of a tool's bar."""
    if tool.startswith("medshare"):
        return OURS
    return FLOOR if tool.startswith("floor") else PEERS


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Write the picture to *path*, as SVG."""
    matplotlib = import_module("matplotlib")
    matplotlib.use("svg")
    # The same report gives the same file, and text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "medshare", "svg.fonttype": "none"})
    found = report["inputs"]
    pyplot = import_module("matplotlib.pyplot")
    figure, panels = pyplot.subplots(
        1, len(found), figsize=(4.2 * len(found), 4.6), layout="constrained", squeeze=False
    )
    for panel, what in zip(panels[0], found.values(), strict=True):
        _panel(panel, what)
    figure.savefig(path, format="svg", metadata={"Date": None})


def _panel(panel: Any, what: Mapping[str, Any]) -> None:
    """Draw one input: a bar a tool, quickest at the top."""
    tools = sorted(what["tools"].items(), key=lambda item: -item[1]["median"]["wall"])
    names = [name for name, _ in tools]
    walls = [found["median"]["wall"] for _, found in tools]
    spreads = [found["median"]["wall_spread"] for _, found in tools]
    low = [wall - spread[0] for wall, spread in zip(walls, spreads, strict=True)]
    high = [spread[1] - wall for wall, spread in zip(walls, spreads, strict=True)]
    panel.barh(names, walls, xerr=[low, high], color=[colour(name) for name in names], capsize=2)
    panel.set_title(f"{what['title']}\n{what['bytes'] / _MIB:,.0f} MiB", fontsize=9)
    panel.set_xlabel("seconds, median and spread of all runs", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    given.picture.parent.mkdir(parents=True, exist_ok=True)
    draw(json.loads(given.report.read_text(encoding="utf-8")), given.picture)


if __name__ == "__main__":
    main()

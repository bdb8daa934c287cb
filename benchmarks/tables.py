"""Reports as tables in Markdown."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.measure import MIB


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are aligned to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def spread(median: Mapping[str, Any], name: str) -> str:
    """Return a median with the least and greatest value, two digits each."""
    if name not in median:
        return "–"
    low, high = median[f"{name}_spread"]
    return f"{median[name]:.2f} ({low:.2f}–{high:.2f})"


def peers(report: Mapping[str, Any]) -> str:
    """Return one table for each input of a comparison."""
    parts = []
    for name, found in report["inputs"].items():
        size, files = found["bytes"] / MIB, found["files"]
        amount = f"{files:,} file{'s' if files != 1 else ''}, {size:,.0f} MiB"
        parts.append(f"### {found['title']}: {amount} ({name})\n")
        ours = found["tools"].get("medshare", {}).get("median")
        head = ["tool", "wall s", "CPU s", "MiB on the wire", "a leg", "wall : ours"]
        rows = [_row(tool, one, found["bytes"], ours) for tool, one in found["tools"].items()]
        parts.append(table(head, rows) + "\n")
    if report.get("skipped"):
        parts.append("Skipped: " + "; ".join(f"{k} ({v})" for k, v in report["skipped"].items()))
    return "\n".join(parts) + "\n"


def lines(report: Mapping[str, Any]) -> str:
    """Return how full each line is kept, and one table for each line and input."""
    head = ["line", "iperf3, 1", "iperf3, 8", "medshare", "of the better"]
    rows, parts = [], []
    for name, found in report["lines"].items():
        best, ours = max(found["iperf3"].values()), statistics.median(found["fill"]["on_the_wire"])
        rates = [*found["iperf3"].values(), ours]
        title = f"{found['title']} ({found['congestion']})"
        rows.append([title, *(f"{rate / 1e6:.1f}" for rate in rates), f"{ours / best:.0%}"])
        parts.append(f"## {title}, {name}\n\n{peers(found)}")
    return f"{table(head, rows)}\n\n" + "\n".join(parts)


def _row(
    tool: str, found: Mapping[str, Any], size: int, ours: Mapping[str, Any] | None
) -> list[str]:
    median = found["median"]
    wire = median.get("wire_bytes")
    name = tool.replace("|", "\\|")
    name = f"**{name}**" if tool.startswith("medshare") else name
    return [
        name,
        spread(median, "wall"),
        spread(median, "cpu"),
        f"{wire / MIB:,.0f}" if wire is not None else "–",
        f"{wire / found['legs'] / size:.0%}" if wire is not None else "–",
        f"{median['wall'] / ours['wall']:.2f}" if ours else "–",
    ]

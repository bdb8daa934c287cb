"""Reports as tables in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.measure import MIB

GIB = 1024 * MIB


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
        size = found["bytes"] / MIB
        parts.append(f"### {found['title']}: {found['files']:,} files, {size:,.0f} MiB ({name})\n")
        ours = found["tools"].get("medshare", {}).get("median")
        head = ["tool", "wall s", "CPU s", "MiB on the wire", "a leg", "peak MiB", "wall : ours"]
        rows = [_row(tool, one, found["bytes"], ours) for tool, one in found["tools"].items()]
        parts.append(table(head, rows) + "\n")
    if report.get("skipped"):
        parts.append("Skipped: " + "; ".join(f"{k} ({v})" for k, v in report["skipped"].items()))
    return "\n".join(parts) + "\n"


def _row(
    tool: str, found: Mapping[str, Any], size: int, ours: Mapping[str, Any] | None
) -> list[str]:
    median = found["median"]
    wire = median.get("wire_bytes")
    name = f"**{tool}**" if tool.startswith("medshare") else tool
    return [
        name,
        spread(median, "wall"),
        spread(median, "cpu"),
        f"{wire / MIB:,.0f}" if wire is not None else "–",
        f"{wire / found['legs'] / size:.0%}" if wire is not None else "–",
        f"{median['peak_rss'] / MIB:.0f}",
        f"{median['wall'] / ours['wall']:.2f}" if ours else "–",
    ]

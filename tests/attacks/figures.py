"""What a run of `make attack` counted, with the commands that count it again.

The figures that were last kept are in `figures.json`; docs/attacks.md shows them, and a full run of
`make attack` writes both anew.
"""

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

KEPT: Final = Path(__file__).with_name("figures.json")
_PYTHON: Final = ".venv/bin/python -m"
_FULL: Final = f"FULL_SWEEP=1 {_PYTHON} pytest"
_VICTIMS: Final = {
    "sender": "the sender",
    "receiver": "the receiver",
    "collector": "a sender that collects a receipt",
    "relay": "the relay",
    "random": "all three, at random",
}
Figures = dict[str, Any]


def figures_of(
    found: Sequence[Mapping[str, Any]],
    *,
    attacks: tuple[int, int],
    mutants: tuple[int, int],
    fuzzed: Mapping[str, int],
) -> Figures:
    """Return what tests noted as figures, with *attacks* and *mutants* as (all, as they should)."""
    sweeps = {one["role"]: dict(one) for one in found if "role" in one}
    others = {name: value for one in found if "role" not in one for name, value in one.items()}
    return {
        "made with": f"Python {platform.python_version()}, {os.cpu_count()} cores",
        "attacks": list(attacks),
        "mutants": list(mutants),
        "sweeps": [sweeps[role] for role in _VICTIMS if role in sweeps],
        "power": {name: value for name, value in others.items() if "power" in name},
        "bits": sum(value for name, value in others.items() if name.startswith("bits flipped")),
        "fuzz": dict(fuzzed),
    }


def lines_of(figures: Figures) -> Iterable[tuple[str, str, str]]:
    """Yield what was counted, how much it was, and the command that counts it again."""
    (tried, held), (taken, red) = figures["attacks"], figures["mutants"]
    yield "attacks and faults", f"{tried} tried, {held} held", "make attack"
    yield (
        "defences taken out",
        f"{taken}, of which {red} turned their test red",
        f"{_PYTHON} pytest tests/attacks/test_mutants.py",
    )
    for sweep in figures["sweeps"]:
        yield f"kills of {_VICTIMS[sweep['role']]}", _killed(sweep), _command(sweep)
    moments = ", ".join(f"{value} {name}" for name, value in figures["power"].items())
    yield "losses of power", moments, f"{_FULL} tests/attacks/ -k power"
    yield (
        "bits flipped, one at a time",
        f"{figures['bits']:,}",
        f"{_FULL} tests/test_properties.py -k flipped",
    )
    fuzz = figures["fuzz"]
    much = f"{fuzz['executions']:,} to {fuzz['decoders']} decoders, {fuzz['broken']} of them broken"
    yield "damaged inputs", much, f"make fuzz FUZZ_SECONDS={fuzz['seconds']}"


def _killed(sweep: Mapping[str, Any]) -> str:
    beyond = f", {sweep['unreached']} beyond its last call" if sweep["unreached"] else ""
    return (
        f"{sweep['points']} moments, {sweep['kills']} kills{beyond}, {sweep['restarts']} restarts, "
        f"at most {sweep['most_resent']} chunks ({sweep['most_bytes_resent']:,} bytes) moved twice"
    )


def _command(sweep: Mapping[str, Any]) -> str:
    how = "--rounds 300" if sweep["role"] == "random" else "--every 1"
    return f"{_PYTHON} tests.attacks.crash --role {sweep['role']} {how}"


def table() -> str:
    """Return the kept figures as a table in Markdown."""
    figures: Figures = json.loads(KEPT.read_text("utf-8"))
    rows = [f"| {what} | {much} | `{how}` |\n" for what, much, how in lines_of(figures)]
    head = f"\nAs last counted ({figures['made with']}), each by the command beside it:\n\n"
    return "".join([head, "| what | how much | counted by |\n|---|---|---|\n", *rows])

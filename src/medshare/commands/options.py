"""What several commands ask for in the same words: output, relay, sizes and times."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from medshare.suites import SUITE_NAMES

if TYPE_CHECKING:
    from medshare.pace import Timetable

Command = TypeVar("Command", bound=Callable[..., Any])

_SIZE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([KMGTkmgt]?)(?:i?[Bb])?(?:/s)?")
_REMARK: Final = re.compile(r" +# ")
_EXAMPLE_WIDTH: Final = 76
"""Columns of 80 that the indentation of examples leaves."""
_FROM: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9]),(.*)", re.DOTALL)
_SPAN: Final = re.compile(r"([0-9]{1,10})([smhdwy])")
_SECONDS: Final = {
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
    "w": 7 * 86400,
    "y": 365 * 86400,
}


@dataclass(frozen=True, slots=True)
class Mode:
    """How a command talks: JSON lines, errors only, and how much detail."""

    json: bool = False
    quiet: bool = False
    verbose: int = 0


class Size(click.ParamType[int]):
    """Octets, written as `500K`, `20M`, `1.5G` (powers of 1024)."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of octets, which is positive."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        octets = 0
        if match:
            octets = int(float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " "))
        if octets < 1:
            self.fail(f"{value!r} is not a size such as 500K, 20M or 1.5G", param, ctx)
        return octets


class Rate(click.ParamType["Timetable"]):
    """Octets a second: a size, or `08:00,20M;18:00,off`: each holds until the next time."""

    name = "rate"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> "Timetable":
        """Return the limit at every minute of the day."""
        from medshare.pace import Timetable

        if isinstance(value, Timetable):
            return value
        entries = [_FROM.fullmatch(entry.strip()) for entry in str(value).split(";")]
        if None in entries:
            entries = [_FROM.fullmatch(f"00:00,{value}")]
        rates = {}
        for hour, minute, rate in (match.groups() for match in entries if match):
            limit = None if rate == "off" else self._size(rate, value, param, ctx)
            rates[int(hour) * 60 + int(minute)] = limit
        if len(rates) < len(entries):
            self.fail(f"{value!r} has two rates for one time", param, ctx)
        return Timetable(tuple(sorted(rates.items(), key=lambda entry: entry[0])))

    def _size(
        self, text: str, whole: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            return Size().convert(text, param, ctx)
        except click.BadParameter:
            self.fail(f"{whole!r} is not a rate such as 20M or 08:00,20M;18:00,off", param, ctx)


class Span(click.ParamType[int]):
    """A length of time in seconds, written as `90s`, `15m`, `12h`, `30d`, `2w` or `10y`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return whole seconds, which are positive."""
        if isinstance(value, int):
            return value
        match = _SPAN.fullmatch(str(value).strip())
        seconds = int(match[1]) * _SECONDS[match[2].lower()] if match else 0
        if seconds < 1:
            self.fail(f"{value!r} is not a time such as 15m, 12h or 30d", param, ctx)
        return seconds


def examples(text: str) -> str:
    """Return *text*, lines of `command   # what it does`, as the epilog of a help page.

    No line is wider than a terminal of 80 columns: what is said of a command stands above
    it where it does not fit beside it, and a command too long for a line goes on in the next.
    """
    pairs = [_REMARK.split(line.strip(), maxsplit=1) for line in text.strip().splitlines()]
    short = [len(one[0]) for one in pairs if one[1:] and len("    ".join(one)) <= _EXAMPLE_WIDTH]
    beside, lines = max(short, default=0) + 2, []
    for command, *remark in pairs:
        if remark and max(beside, len(command)) + 2 + len(remark[0]) <= _EXAMPLE_WIDTH:
            lines.append(f"{command:<{beside}}# {remark[0]}")
            continue
        lines += [f"# {one}" for one in remark] + _folded(command)
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def _folded(command: str) -> list[str]:
    """Return *command* in as many lines as it needs, broken before options."""
    lines = [""]
    for part in re.split(r" (?=--)", command):
        if lines[-1] and len(lines[-1]) + len(part) + 3 > _EXAMPLE_WIDTH:
            lines[-1] += " \\"
            lines.append("    " + part)
        else:
            lines[-1] += (" " if lines[-1] else "") + part
    return lines


def suite_option(text: str) -> Callable[[Command], Command]:
    """Add `--suite`, explained with *text*; see `suites_allowed` for what it means."""
    return click.option(
        "--suite",
        type=click.Choice(["auto", *SUITE_NAMES]),
        default="auto",
        show_default=True,
        help=text,
    )


def suites_allowed(suite: str) -> tuple[frozenset[str] | None, bool]:
    """Return the suites that *suite* allows, None for those of the keys, and whether mixed.

    Who names a suite takes what comes with it: keys of another family where there are no others.
    """
    return (None, False) if suite == "auto" else (frozenset({suite}), True)


def gathered(name: str, empty: Any) -> Callable[..., Callable[[Command], Command]]:
    """Return what makes options whose values the command gets together, as *name*.

    *empty* is a frozen dataclass, with a field for each option and what holds without it.
    """

    def gather(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        before = ctx.params.get(name, empty)
        ctx.params[name] = replace(before, **{str(param.name): value})
        return value

    def option(*names: str, **how: Any) -> Callable[[Command], Command]:
        return click.option(*names, expose_value=False, callback=gather, **how)

    return option


def output_options(command: Command) -> Command:
    """Add `--json`, `-q` and `-v`; the command receives them as one `mode`."""
    option = gathered("mode", Mode())
    command = option("--json", is_flag=True, help="One JSON object a line, for programs.")(command)
    command = option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")(command)
    return option("-v", "--verbose", count=True, help="More detail; -vv for bug reports.")(command)

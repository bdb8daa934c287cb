"""What `receive` and `view` ask for when the glass is to be broken."""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from medshare.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


def glass_options(command: Command) -> Command:
    """Add `--break-glass` and `--reason`; the command gets both as they were typed."""
    command = click.option(
        "--reason",
        default="",
        metavar="TEXT",
        help="Why it cannot wait; a terminal asks for it. Kept, for whoever reviews it: nothing "
        "about the patient.",
    )(command)
    return click.option(
        "--break-glass",
        is_flag=True,
        help="In an emergency: override the rules of departments, as the policy allows.",
    )(command)


def reason_of(break_glass: bool, reason: str) -> str | None:
    """Return why the glass is to be broken, or None; raise UsageError for one half of it.

    A terminal asks for a reason that is not on the command line, where others could see it.
    """
    if break_glass and not reason.strip() and sys.stdin.isatty():
        question = "why can it not wait? (kept for review; nothing about the patient)"
        reason = str(click.prompt(question, err=True))
    if break_glass and not reason.strip():
        raise UsageError(
            "the glass is not broken without a reason",
            hint="--reason 'why it cannot wait', with nothing about the patient in it",
        )
    if reason and not break_glass:
        raise UsageError("a reason is given to break the glass: add --break-glass")
    return reason if break_glass else None

"""`medshare view`: look at a parcel without writing anything of it to a disk."""

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import click

from medshare.commands.glass import glass_options, reason_of
from medshare.commands.opening import Way, match_parcel, open_way, way_options
from medshare.commands.options import (
    Mode,
    Span,
    examples,
    output_options,
    suite_option,
    suites_allowed,
)
from medshare.commands.output import choose
from medshare.errors import PolicyError

if TYPE_CHECKING:
    from medshare.sharing.viewing import Viewing

_TO_VIEW: Final = ("medshare.sharing.viewing", "medshare.codecs.planes", "medshare.commands.views")
_HALF_AN_HOUR: Final = 1800
_ONE_OPENING: Final = 540
"""Seconds for which a page is there at most where openings are counted: what is fetched ten
minutes after the seal is, to the relay, another opening (docs/grants.md §4)."""


@click.command(
    epilog=examples(
        """
        medshare receive --list                     # what waits, and who sent it
        medshare view 3f2a9c1b                      # a page on this machine, for half an hour
        medshare view 3f2a9c1b --for 5m
        medshare view 3f2a9c1b report.txt           # one file, in this terminal
        medshare view 3f2a9c1b --break-glass --reason 'unconscious, known allergies needed'
        """
    )
)
@click.argument("parcel")
@click.argument("file", required=False)
@way_options
@click.option(
    "--for",
    "seconds",
    type=Span(),
    default=_HALF_AN_HOUR,
    metavar="TIME",
    help="How long the page is there at most.  [default: 30m]",
)
@suite_option("The algorithms to take; naming one takes it although the keys differ.")
@glass_options
@output_options
def view(
    parcel: str,
    file: str | None,
    way: Way,
    seconds: int,
    suite: str,
    break_glass: bool,
    reason: str,
    mode: Mode,
) -> None:
    """Look at PARCEL in memory: nothing of it is written to a disk.

    Without FILE, a page on this machine alone shows texts, pictures, PDF and DICOM, until
    you press Ctrl-C. With it, this terminal shows what can be shown there. Each call is one
    opening, which is recorded, and counted where the sender has set a number.
    """
    glass = reason_of(break_glass, reason)
    suites, mixed = suites_allowed(suite)
    with open_way(way, *_TO_VIEW) as (station, identity, transport):
        from medshare.sharing.access import BROKEN
        from medshare.sharing.events import Notice
        from medshare.sharing.viewing import viewing

        if file is not None:
            _require_terminal(mode)
        with viewing(
            match_parcel(parcel, transport.inbox()),
            identity=identity,
            station=station,
            transport=transport,
            reason=glass,
            suites=suites,
            mixed=mixed,
        ) as found:
            if found.broken:
                choose(mode).event(Notice("access.break-glass", BROKEN))
            if file is not None:
                _show(found, file, mode)
            else:
                _serve(found, min(seconds, _ONE_OPENING) if found.counted else seconds, mode)


def _require_terminal(mode: Mode) -> None:
    """Raise PolicyError when what is shown would go into a file or another program."""
    if mode.json or not sys.stdout.isatty():
        raise PolicyError(
            "what is looked at is shown in a terminal only, and not to files or programs",
            hint="to have the files themselves: medshare receive PARCEL --output DIR",
            code="policy.terminal",
        )


def _show(found: "Viewing", file: str, mode: Mode) -> None:
    from medshare.commands import access_views
    from medshare.viewing.contents import shown

    content = shown(found.read(found.number_of(file)))
    with choose(Mode(quiet=False, verbose=mode.verbose)) as out:
        out.result({}, lambda: access_views.content(content))


def _serve(found: "Viewing", seconds: int, mode: Mode) -> None:
    """Serve the page until its time is over, or somebody ends it."""
    from medshare.commands import access_views
    from medshare.viewing.server import served

    title = f"from {found.sender.name}, parcel {found.parcel.hex()[:12]}"
    with served(found, title=title) as page:
        choose(mode).result(
            access_views.viewing_record(found, page.url, seconds),
            lambda: access_views.viewing(found, page.url, seconds),
        )
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):  # it is how one ends it
            time.sleep(seconds)
    choose(mode).result({"event": "view_ended"}, lambda: "closed; nothing was kept")

"""What commands about a relay's folder have in common: the folder, its stations, plain results.

Nothing here may load what decrypts: results are plain lines, not the views of transfers.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medshare.commands.options import Mode
from medshare.commands.text import visible
from medshare.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from medshare.relay.enrolment import Stations
    from medshare.trust.card import Card

data_option = click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder of the relay; made if need be, for this user alone.",
)


def require_unadministered(data: Path, how: str) -> None:
    """Raise AccessDeniedError when the relay in *data* has administrators, who alone may act."""
    from medshare.relay.founding import require_unadministered

    require_unadministered(data, how)


def stations_in(data: Path, *, make: bool = True) -> "Stations":
    """Return the stations of the relay in *data*; raise UsageError where there is no relay."""
    from medshare.relay.enrolment import Stations
    from medshare.relay.folder import DataFolder

    if not make and not data.is_dir():
        raise UsageError(f"there is no folder of a relay at {visible(str(data))}")
    return Stations(DataFolder(data).cards)


def one_station(stations: "Stations", text: str) -> "Card":
    """Return the card of the one station that *text*, a name or the first digits, names.

    Raises NotFoundError when there is none, UsageError when there are several.
    """
    found = stations.matching(text)
    if not found:
        raise NotFoundError(
            f"no station called {visible(text)} is enrolled here",
            hint="medshare relay list shows who is",
        )
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} enrolled stations are called {visible(text)}",
            hint="give the first digits of the id: medshare relay list",
        )
    return found[0]


def tell(mode: Mode, record: dict[str, Any], *lines: str) -> None:
    """Give a result: *record* to programs, *lines* to people."""
    if mode.json:
        click.echo(json.dumps(record))
    elif not mode.quiet:
        for line in lines:
            click.echo(line)
    sys.stdout.flush()

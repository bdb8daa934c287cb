"""`medshare policy review`, `judge` and `reviewed`: somebody else looks at every emergency."""

import time
from pathlib import Path
from typing import Final

import click

from medshare.commands.opening import open_station
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.commands.unlock import passphrase_option, unlock_identity
from medshare.errors import UsageError

_FINDINGS: Final = ("justified", "not-justified")


@click.command(
    epilog=examples(
        """
        medshare policy review                            # what awaits review
        medshare policy review --all
        medshare policy review 57 --output emergency-57   # for whoever reviews it
        """
    )
)
@click.argument("number", required=False, type=click.IntRange(0))
@click.option("--all", "everything", is_flag=True, help="Also what was reviewed already.")
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write emergency NUMBER."
)
@output_options
def review(number: int | None, everything: bool, output: Path | None, mode: Mode) -> None:
    """List the emergencies that await review, or hand one over to be reviewed.

    The file holds the entry of the record, the proof that it is in there, and the reason that
    was given. Hand it to somebody else than who broke the glass, with a station of their own.
    """
    from medshare.commands import access_views
    from medshare.sharing.reviewing import emergencies, hand_over

    station = open_station()[1]
    if (number is None) != (output is None):
        raise UsageError("to hand one over, give its number and --output FILE")
    if number is not None and output is not None:
        _require_new(output)
        hand_over(station, number, output)
        record = {"event": "emergency_written", "number": number, "output": str(output)}
        choose(mode).result(record, lambda: access_views.handed_over(number, output))
        return
    found = [one for one in emergencies(station) if everything or one.reviewer is None]
    names = {one.station: one.name for one in station.contacts.all()}
    choose(mode).result(
        access_views.emergencies_record(found), lambda: access_views.emergencies(found, names)
    )


def _require_new(output: Path) -> None:
    if output.exists():
        raise UsageError(f"{output} exists; it is not overwritten")


@click.command(
    epilog=examples(
        """
        medshare policy judge emergency-57                     # shows it, and what was the reason
        medshare policy judge emergency-57 --finding justified --output review-57
        """
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--finding", type=click.Choice(_FINDINGS), help="What you have found.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Your review.")
@passphrase_option
@output_options
def judge(
    file: Path,
    finding: str | None,
    output: Path | None,
    passphrase_file: Path | None,
    mode: Mode,
) -> None:
    """Review the emergency of somebody else, and sign what you have found."""
    from medshare.audit.review import Outcome
    from medshare.commands import access_views
    from medshare.disk.atomic import write_file
    from medshare.sharing.reviewing import read_handed, sign_review

    if (finding is None) != (output is None):
        raise UsageError("to sign a review, give --finding and --output FILE")
    settings, station = open_station()
    handed = read_handed(file, station)
    if finding is not None and output is not None:
        _require_new(output)
        identity = unlock_identity(station, settings, file=passphrase_file)
        octets = sign_review(
            handed, Outcome(finding), identity=identity, station=station, now=int(time.time())
        )
        write_file(output, octets, mode=0o644, what="the review")
    record = access_views.handed_record(handed, finding)
    choose(mode).result(record, lambda: access_views.handed(handed, finding, output))


@click.command(
    epilog=examples(
        """
        medshare policy reviewed review-57     # what the reviewer gave back
        """
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@passphrase_option
@output_options
def reviewed(file: Path, passphrase_file: Path | None, mode: Mode) -> None:
    """Take in a review, signed by a contact of yours: the emergency awaits it no longer."""
    from medshare.commands import access_views
    from medshare.sharing.reviewing import take_review

    settings, station = open_station()
    identity = unlock_identity(station, settings, file=passphrase_file)
    with station.record.signed(identity.signers):
        found, reviewer, new = take_review(file, station=station)
    record = {
        "event": "reviewed",
        "number": found.number,
        "reviewer": reviewer.name,
        "finding": str(found.finding),
        "already": not new,
    }
    choose(mode).result(record, lambda: access_views.reviewed(found, reviewer.name, new=new))

"""`medshare send`."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from medshare.commands.granting import Granted, conditions, grant_options, recipients
from medshare.commands.opening import Way, contact_names, open_way, way_options
from medshare.commands.options import (
    Mode,
    Rate,
    Span,
    examples,
    output_options,
    suite_option,
    suites_allowed,
)
from medshare.commands.output import choose
from medshare.errors import TransferError

if TYPE_CHECKING:
    from medshare.commands.lines import Output
    from medshare.ids import StationId
    from medshare.sharing.events import Notice
    from medshare.sharing.send import SendOptions, SendResult
    from medshare.station import Contact

_TO_SEND: Final = ("medshare.sharing.send", "medshare.codecs.encoder", "medshare.commands.views")
"""Imported while the passphrase is made a key of."""

_FOREVER: Final = "forever"
_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?")
_TIME: Final = re.compile(rf"{_FOREVER}|{_SECONDS.pattern}|[0-9]{{1,9}}[smhdwy]")


class Patience(click.ParamType[float]):
    """Seconds: `30`, `10m`, or `forever`."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds; infinity for `forever`."""
        if isinstance(value, float):
            return value
        written = str(value)
        if written == _FOREVER:
            return math.inf
        if _SECONDS.fullmatch(written):
            return float(written)
        return float(Span().convert(written, param, ctx))


def with_time(args: Sequence[str]) -> list[str]:
    """Return *args* with `forever` after each `--wait` that no time follows."""
    end = args.index("--") if "--" in args else len(args)
    whole: list[str] = []
    for at, word in enumerate(args):
        whole.append(word)
        if word == "--wait" and at < end:
            following = args[at + 1] if at + 1 < end else ""
            if not _TIME.fullmatch(following):
                whole.append(_FOREVER)
    return whole


class Waitable(click.Command):
    """A command whose `--wait` may stand alone: then it waits for ever."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Complete a lone `--wait`, so that the path after it is not taken for a time."""
        return super().parse_args(ctx, with_time(args))


@click.command(
    cls=Waitable,
    epilog=examples(
        """
        medshare send ct_head/ --to dr-wang                    # seal, send, go home
        medshare send ct_head/ report.pdf --to dr-wang --wait  # until it has arrived whole
        medshare send mr/ --to dr-wang --to tumour-board --note 'second opinion, please'
        medshare send mr/ --to dr-wang --delete-after 30d --limit-rate 20M
        medshare send mr/ --to dr-wang --folder /media/usb     # by courier, without a network
        medshare send mr/ --to dr-wang --require licensed      # only with a valid credential
        medshare send mr/ --to dr-wang --role consultant       # may look and answer, no more
        medshare send mr/ --to dr-wang:attending --to dr-li:trainee --grant-until 14d
        medshare send mr/ --to dr-wang --wait 10m --json       # for programs
        """
    ),
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--to",
    "names",
    multiple=True,
    required=True,
    metavar="NAME",
    shell_complete=contact_names,
    help="A contact to send to, or NAME:ROLE; may be repeated.",
)
@grant_options
@way_options
@click.option(
    "--wait",
    type=Patience(),
    metavar="[TIME]",
    help="Wait for the receipts (forever, or 90s, 10m): fail unless all has arrived whole.",
)
@click.option("--note", default="", metavar="TEXT", help="A few words, sealed with the files.")
@click.option(
    "--note-file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="The same from FILE (- is stdin): a command line is seen by all users of a machine.",
)
@click.option(
    "--delete-after",
    "keep_for",
    type=Span(),
    metavar="TIME",
    help="The relay erases it after so long (12h, 30d).",
)
@click.option("--tier", default="routine", show_default=True, help="How sensitive it is.")
@click.option(
    "--require",
    type=click.Choice(["licensed"]),
    help="Refuse recipients for whom no trusted authority vouches (medshare trust).",
)
@click.option("--pad", is_flag=True, help="Round sizes up, so that the relay learns less.")
@click.option(
    "--effort",
    type=click.Choice(["auto", "fastest", "balanced", "smallest"]),
    default="auto",
    show_default=True,
    help="How hard to compress; auto is as much as the line leaves time for.",
)
@suite_option("The algorithms; naming one lets a parcel go to keys of both families.")
@click.option(
    "--limit-rate",
    type=Rate(),
    metavar="RATE",
    help="Bytes a second (20M), or by the time of day ('08:00,20M;18:00,off').",
)
@click.option("--new", "anew", is_flag=True, help="A new parcel, whatever an earlier run sent.")
@click.option("--follow-symlinks", is_flag=True, help="Send what symbolic links point to.")
@click.option("--skip-hidden", is_flag=True, help="Leave out names that begin with a dot.")
@output_options
def send(
    paths: tuple[Path, ...],
    names: tuple[str, ...],
    granted: Granted,
    way: Way,
    mode: Mode,
    **options: Any,
) -> None:
    """Seal files and folders to contacts, and send them.

    Nobody but the contacts named can read what is sent. Running the same command again
    goes on where an interrupted one stopped; nothing is sent or read twice, and what was
    delivered is not sent again. With --role, recipients may do with it what that role may.
    """
    with open_way(way, *_TO_SEND) as (station, identity, transport), choose(mode) as out:
        from medshare.sharing.send import send as send_parcel

        if way.folder is not None and not way.folder.exists():
            out.event(_new_folder(way.folder))
        contacts, roles = recipients(names, station)
        offered = conditions(granted, contacts, roles, station)
        result = send_parcel(
            paths,
            to=contacts,
            identity=identity,
            station=station,
            transport=transport,
            options=_send_options(conditions=offered, **options),
            on_event=out.event,
        )
    missing = show_sent(result, contacts, transport.route, out)
    if options["wait"] is not None:
        _require_receipts(missing)


def show_sent(
    result: "SendResult", contacts: "Sequence[Contact]", route: str, out: "Output"
) -> list[str]:
    """Say what was sent; return the names of those whose receipt is not there."""
    from medshare.commands import records, views

    called = {contact.station: contact.name for contact in contacts}
    missing = [called[one] for one in result.missing_receipts]
    named = [called[one] for one in result.receipts if one in called] or list(called.values())
    for notice in _emergencies(result, called):
        out.event(notice)
    out.result(
        records.sent(result, names=called, route=route),
        lambda: views.sent(result, names=named, missing=missing, route=route),
    )
    return missing


def _emergencies(result: "SendResult", called: "Mapping[StationId, str]") -> "Iterator[Notice]":
    """Yield what to tell the sender of recipients who say that they broke the glass."""
    from medshare.commands.views import emergency_line
    from medshare.sharing.events import Notice

    for receipt in result.receipts.values():
        if receipt.emergency is not None:
            name = called.get(receipt.recipient, "a recipient")
            yield Notice("send.break-glass", f"{name}: {emergency_line(receipt)}")


def _new_folder(folder: Path) -> "Notice":
    """Return what to tell somebody who may have mistyped, or not yet mounted, a folder."""
    from medshare.sharing.events import Notice

    return Notice("send.new-folder", f"there is no folder {folder} yet: it will be made")


def _require_receipts(missing: Sequence[str]) -> None:
    """Raise TransferError when the receipts of some recipients are *missing*."""
    if missing:
        raise TransferError(
            f"sealed, but not yet received by {', '.join(missing)}",
            hint="the parcel is safe where it is; run the same command again to wait on",
            code="transfer.no-receipt",
        )


def _send_options(
    *,
    effort: str,
    keep_for: int | None,
    suite: str,
    require: str | None,
    note: str,
    note_file: Path | None,
    **others: Any,
) -> "SendOptions":
    from medshare.codecs import Effort
    from medshare.commands.note import note_of
    from medshare.sharing.send import SendOptions
    from medshare.trust.suite_choice import ALL_SUITES

    suites, mixed = suites_allowed(suite)
    return SendOptions(
        effort=None if effort == "auto" else Effort(effort),
        keep_for=keep_for or 0,
        suites=suites or ALL_SUITES,
        mixed=mixed,
        licensed=require == "licensed",
        note=note_of(note, note_file),
        **others,
    )

"""`medshare verify` and `medshare receipt`: what can be checked without any network."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from medshare.commands.opening import match_parcel, open_station, station_if_any
from medshare.commands.options import Mode, examples, output_options
from medshare.commands.output import choose
from medshare.commands.text import visible
from medshare.errors import (
    IntegrityError,
    MedshareError,
    RevokedError,
    UntrustedSignerError,
    UsageError,
)
from medshare.ids import ParcelId
from medshare.sharing.events import Notice, Planned

if TYPE_CHECKING:
    from medshare.disk.checked import Checked
    from medshare.receipt import Receipt
    from medshare.sharing.verify import Fault, FolderReport
    from medshare.station import Station

_NAMED: Final = 5
"""Faults that the last sentence names; the report above it names all."""


@click.command(
    epilog=examples(
        """
        medshare verify inbox/                             # a folder that was received here
        medshare verify copy/ --receipt 3f2a.receipt       # a copy of it, years later
        medshare verify archive/ --progress verified.list  # interrupted, it goes on where it was
        medshare verify /srv/relay/parcels/3f2a9c1b…/      # a sealed parcel, without any key
        medshare verify 3f2a.receipt --card dr-wang.card   # a receipt, without a station
        """
    )
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--receipt",
    "receipt_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Hold the folder against this receipt.",
)
@click.option(
    "--card",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The card of whoever signed the receipt, if it is not a contact.",
)
@click.option(
    "--progress",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep there which files of a folder are good: another run reads only others.",
)
@output_options
def verify(
    paths: tuple[Path, ...],
    receipt_file: Path | None,
    card: Path | None,
    progress: Path | None,
    mode: Mode,
) -> None:
    """Check sealed parcels, received folders and receipts; name what is wrong.

    A sealed parcel is checked without any key: signatures, digests, completeness. A
    received folder is held against its receipt: each file's BLAKE3 digest, as b3sum prints
    it. Nothing is written but what --progress asks for, and no network is used.
    """
    faults: list[Fault] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"there is nothing at {path}")
        if path.is_file():
            _show_receipt(path, card, mode, everything=False)
        elif (path / "envelope").is_file():
            faults.extend(_verify_parcel(path, mode))
        else:
            with _progress(progress) as checked:
                faults.extend(_verify_folder(path, receipt_file, card, checked, mode))
    if faults:
        named = ", ".join(fault.where for fault in faults[:_NAMED])
        more = f" and {len(faults) - _NAMED:,} more" if len(faults) > _NAMED else ""
        raise IntegrityError(f"not as it should be: {named}{more}", code=faults[0].code)


@contextmanager
def _progress(file: Path | None) -> "Iterator[Checked | None]":
    """Open the list of files that are known to be good, if there is to be one."""
    if file is None:
        yield None
        return
    from medshare.disk.checked import Checked

    with closing(Checked(file)) as checked:
        yield checked


def _verify_parcel(folder: Path, mode: Mode) -> "tuple[Fault, ...]":
    from medshare.commands import records, views
    from medshare.sharing.verify import verify_parcel

    with choose(mode) as out:
        report = verify_parcel(folder, on_event=out.event)
    known, described = _sender(folder)
    out.result(
        records.checked_parcel(report, place=str(folder), sender=known),
        lambda: views.checked_parcel(report, sender=described),
    )
    return report.faults


def _sender(folder: Path) -> tuple[str | None, str]:
    """Return the local name of a parcel's sender, if known here, and what to say of it."""
    from medshare.disk.parcels import ParcelFolder
    from medshare.envelope import parse_envelope
    from medshare.sharing.incoming import sender_of

    envelope = parse_envelope(ParcelFolder(folder).read_envelope())
    station = station_if_any()
    try:
        if station is not None:
            name = sender_of(envelope, station).name
            return name, visible(name)
    except RevokedError as error:
        return None, f"station {envelope.sender.hex()}: {visible(error.message)}"
    except UntrustedSignerError:
        pass
    return None, f"station {envelope.sender.hex()}, for which nobody here vouches"


def _verify_folder(
    folder: Path,
    receipt_file: Path | None,
    card: Path | None,
    checked: "Checked | None",
    mode: Mode,
) -> "list[Fault]":
    from medshare.commands import records, views
    from medshare.sharing.receipts import load_receipt, receipts_for_folder

    if receipt_file is not None:
        receipts: Sequence[Receipt] = (load_receipt(receipt_file),)
    else:
        receipts = receipts_for_folder(open_station()[1], folder)
    faults: list[Fault] = []
    for report in _reports(folder, receipts, checked, mode):
        signer = signer_of(report.receipt, card)
        choose(mode).result(
            records.checked_folder(report, place=str(folder), signer=signer),
            partial(views.checked_folder, report, folder=folder, signer=visible(signer)),
        )
        faults.extend(report.faults)
    return faults


def _reports(
    folder: Path, receipts: "Sequence[Receipt]", checked: "Checked | None", mode: Mode
) -> "list[FolderReport]":
    """Hold *folder* against each receipt; what none of them names is the last one's extra."""
    from dataclasses import replace

    from medshare.sharing.verify import verify_folder

    reports = []
    for receipt in receipts:
        with choose(mode) as out:
            out.event(_planned(folder, receipt))
            report = verify_folder(folder, receipt, on_event=out.event, checked=checked)
            reports.append(report)
    unnamed = set.intersection(*(set(report.extra) for report in reports))
    last = len(reports) - 1
    return [
        replace(report, extra=tuple(sorted(unnamed)) if at == last else ())
        for at, report in enumerate(reports)
    ]


def _planned(folder: Path, receipt: "Receipt") -> Planned:
    return Planned(
        parcel=receipt.parcel,
        direction="verify",
        peer="",
        route=f"folder {folder}",
        files=len(receipt.files),
        total_bytes=sum(file.size for file in receipt.files),
        total_chunks=len(receipt.files),
        resumed_chunks=0,
        resumed_bytes=0,
    )


def signer_of(receipt: "Receipt", card: Path | None) -> str:
    """Return the name of whoever signed *receipt*: a contact, this station, or *card*'s owner.

    Raises UntrustedSignerError when it is none of these.
    """
    from medshare.disk.atomic import read_file
    from medshare.sharing.receipts import require_known_signer
    from medshare.trust.card import MAX_CARD_FILE, dearmor, parse_card

    if card is not None:
        owner = parse_card(dearmor(read_file(card, limit=2 * MAX_CARD_FILE, what="the card")))
        if owner.station != receipt.recipient or not owner.knows_signing_keys(
            receipt.recipient_keys
        ):
            raise UntrustedSignerError("the receipt is not signed by the owner of that card")
        return owner.name
    station = station_if_any()
    if station is None:
        raise UntrustedSignerError(
            "the receipt is well signed, but there is no station here that knows by whom",
            hint="give the signer's card with --card FILE",
        )
    return require_known_signer(receipt, station)


@click.command(
    epilog=examples(
        """
        medshare receipt                                    # all that are kept here
        medshare receipt 3f2a9c1b                           # what the recipients signed
        medshare receipt 3f2a9c1b --json > proof.json       # every file with its digest
        medshare receipt 3f2a.receipt --card dr-wang.card   # one that somebody else shows
        """
    )
)
@click.argument("which", required=False, metavar="[PARCEL|FILE]")
@click.option("--all-files", is_flag=True, help="List every file, however many.")
@click.option(
    "--card",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The card of whoever signed it, if it is not a contact.",
)
@output_options
def receipt(which: str | None, all_files: bool, card: Path | None, mode: Mode) -> None:
    """Show and check proofs of delivery, without any network.

    A receipt is a recipient's signature over every file of a parcel. The sender keeps it,
    and so does the recipient.
    """
    if which is None:
        _list_receipts(mode)
        return
    if Path(which).is_file():
        _show_receipt(Path(which), card, mode, everything=all_files)
        return
    _, station = open_station()
    kept = list(_kept(station))
    parcel = match_parcel(which, list(dict.fromkeys(one for one, _ in kept)))
    places = [place for one, place in kept if one == parcel]
    if not places:
        raise UsageError("no receipt for this parcel is kept here", code="transfer.not-found")
    for place in places:
        _show_receipt(place, card, mode, everything=all_files)


def _kept(station: "Station") -> Iterator[tuple[ParcelId, Path]]:
    """Yield the receipts of *station*, by the parcel that each one's name states."""
    for place in sorted(station.receipts().glob("*.receipt")):
        digits = place.name.partition("-")[0]
        try:
            yield ParcelId(bytes.fromhex(digits)), place
        except ValueError:
            continue


def _show_receipt(place: Path, card: Path | None, mode: Mode, *, everything: bool) -> None:
    from medshare.commands import records, views
    from medshare.sharing.receipts import load_receipt

    found = load_receipt(place)
    signer = signer_of(found, card)
    station = station_if_any()
    sender = f"station {found.sender.hex()}"
    if station is not None:
        contact = station.contacts.of(found.sender)
        ours = "this station" if found.sender == station.id else None
        name = ours or (contact.name if contact is not None else "unknown here")
        sender = f"{visible(name)}, {sender}"
    choose(mode).result(
        records.proof(found, signer=signer, place=str(place)),
        lambda: views.proof(
            found, signer=visible(signer), sender=sender, place=place, everything=everything
        ),
    )


def _list_receipts(mode: Mode) -> None:
    """List what is kept here; a damaged or foreign receipt is named and fails the command."""
    from medshare.commands import records, views
    from medshare.sharing.receipts import load_receipt, require_known_signer

    _, station = open_station()
    out = choose(mode)
    rows: list[tuple[Receipt, str]] = []
    problems: list[MedshareError] = []
    for _, place in _kept(station):
        try:
            found = load_receipt(place)
            signer = require_known_signer(found, station)
        except MedshareError as error:
            problems.append(error)
            out.event(Notice("receipt.refused", f"{place.name}: {error.message}"))
            continue
        rows.append((found, visible(signer)))
        if mode.json:
            out.result(records.proof(found, signer=signer, place=str(place)), lambda: "")
    if not mode.json:
        out.result({}, lambda: views.proofs(rows))
    if problems:
        raise problems[0]

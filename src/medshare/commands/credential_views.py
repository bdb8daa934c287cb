"""Credentials, authorities and what they published: as people read them, and as programs do."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medshare.authority.held import Credentials, Standing
from medshare.authority.office import Office
from medshare.authority.register import Issued, Register
from medshare.commands import text
from medshare.commands.views import BAD, GOOD, OPEN, facts, headline, path
from medshare.ids import StationId
from medshare.station import Contact, Station
from medshare.trust.certification import Authority
from medshare.trust.credential import Credential, digest_of
from medshare.trust.revocation_list import number_of

if TYPE_CHECKING:
    from medshare.sharing.receive import ParcelListing

Record = dict[str, Any]


def standings(
    station: Station, contacts: Iterable[Contact], *, now: int
) -> dict[StationId, Standing]:
    """Return the standing of each contact whose credential matters here.

    Nothing is said where there is no credential and nobody has decided to trust an authority.
    """
    credentials = Credentials(station)
    found = {one.station: credentials.standing(one.station, one.card, now=now) for one in contacts}
    silent = not credentials.authorities
    return {key: one for key, one in found.items() if one.held is not None or not silent}


def senders(
    station: Station, listings: "Iterable[ParcelListing]", *, now: int
) -> dict[StationId, Standing]:
    """Return the standing of each known sender of *listings*."""
    found = (one.sender for one in listings)
    return standings(station, (one for one in found if one is not None), now=now)


def standing_record(standing: Standing | None) -> Record | None:
    """Return what programs read of a credential, good or not; None where there is none."""
    if standing is None or standing.held is None:
        return None
    held, fault = standing.held, standing.fault
    return {
        **credential_record(held),
        "authority": None if standing.vetted is None else standing.vetted.authority,
        "fault": None if fault is None else {"code": fault.code, "message": fault.message},
    }


def records_of(known: Mapping[StationId, Standing]) -> dict[StationId, Record | None]:
    """Return the record of each standing."""
    return {station: standing_record(standing) for station, standing in known.items()}


def lines_of(known: Mapping[StationId, Standing]) -> dict[StationId, str]:
    """Return the line for people of each standing."""
    return {station: standing_line(standing) for station, standing in known.items()}


def credential_record(credential: Credential) -> Record:
    """Return what a certificate says, as programs read it."""
    return {
        "serial": f"{credential.certificate.serial_number:x}",
        "name": credential.name,
        "licence": credential.licence,
        "role": credential.role,
        "department": credential.department,
        "organisation": credential.organisation,
        "station": credential.station.hex(),
        "not_before": credential.not_before,
        "not_after": credential.not_after,
    }


def standing_line(standing: Standing | None) -> str:
    """Return one line: who it is, vetted by whom, until when; or why that is not known."""
    if standing is None:
        return ""
    if standing.vetted is None:
        reason = "" if standing.fault is None else standing.fault.message
        return f"not vetted: {text.visible(reason, limit=1000)}"
    until = text.moment(standing.vetted.credential.not_after)
    authority = text.visible(standing.vetted.authority)
    return f"{person(standing.vetted.credential)}; vetted by {authority}, valid until {until}"


def person(credential: Credential) -> str:
    """Return who a credential says somebody is."""
    parts = (
        credential.name,
        credential.role,
        f"licence {credential.licence}",
        credential.department,
        credential.organisation,
    )
    return ", ".join(text.visible(part) for part in parts if part)


def attached(credential: Credential, standing: Standing) -> Group:
    """Return that a credential is kept now, and whether it is good."""
    good = standing.vetted is not None
    mark, style = ("✓", GOOD) if good else ("●", OPEN)
    return Group(
        headline(mark, style, f"kept: {person(credential)}"),
        facts([("vetted", standing_line(standing)), ("station", credential.station.hex())]),
    )


def office_record(office: Office, *, event: str) -> Record:
    """Return an authority's own record."""
    return {
        "event": event,
        "name": office.name,
        "certificate": digest_of(office.certificate).hex(),
        "not_after": int(office.certificate.not_valid_after_utc.timestamp()),
        "folder": str(office.folder),
    }


def office_made(office: Office) -> Group:
    """Return what `authority init` made, and what comes next."""
    return Group(
        headline("✓", GOOD, f"this folder is now an authority: {text.visible(office.name)}"),
        facts(
            [
                ("certificate", path(office.folder / "ca.pem")),
                ("sha-256", digest_of(office.certificate).hex()),
                ("next", "give ca.pem to the stations: medshare trust add ca.pem"),
            ]
        ),
    )


def issued_record(issued: Issued, *, event: str | None = None) -> Record:
    """Return a certificate of the register; one of a list has no event of its own."""
    record = {
        **credential_record(issued.credential),
        "revoked_at": issued.revoked_at or None,
        "reason": issued.reason or None,
    }
    return record if event is None else {"event": event, **record}


def issued(done: Issued, verb: str, following: str) -> Group:
    """Return what became of one certificate, and what comes next."""
    credential = done.credential
    return Group(
        headline("✓", GOOD, f"{verb}: {person(credential)}"),
        facts(
            [
                ("serial", done.serial),
                ("station", credential.station.hex()),
                ("valid until", text.moment(credential.not_after)),
                ("next", following),
            ]
        ),
    )


def register(found: Register) -> RenderableType:
    """Return all certificates of an authority, one a line."""
    if not found.issued:
        return Text("no certificates yet; medshare authority issue makes one")
    table = Table.grid(padding=(0, 2, 0, 0))
    for one in found.issued:
        credential = one.credential
        state = f"until {text.moment(credential.not_after)}"
        if one.revoked_at:
            state = f"revoked {text.moment(one.revoked_at)} ({one.reason})"
        table.add_row(one.serial[:12], state, person(credential))
    return table


def authority_record(authority: Authority, *, event: str | None = None) -> Record:
    """Return a trusted authority; one of a list has no event of its own."""
    practitioners = authority.practitioners
    record = {
        "name": authority.name,
        "subject": authority.anchor.subject.rfc4514_string(),
        "certificate": digest_of(authority.anchor).hex(),
        "not_after": int(authority.anchor.not_valid_after_utc.timestamp()),
        "crl_numbers": [number_of(crl) for crl in authority.crls],
        "list_version": None if practitioners is None else practitioners.content.version,
        "list_expires": None if practitioners is None else practitioners.content.expires,
    }
    return record if event is None else {"event": event, **record}


def authority(found: Authority, sentence: str) -> Group:
    """Return what became of a trusted authority."""
    following = "medshare trust update FILE: nobody is vetted without a revocation list"
    return Group(
        headline("✓", GOOD, f"{text.visible(found.name)} {sentence}"),
        facts([*_authority_rows(found), ("next", "" if found.crls else following)]),
    )


def authorities(found: Sequence[Authority]) -> RenderableType:
    """Return all trusted authorities."""
    if not found:
        return Text("no authority is trusted here yet; medshare trust add ca.pem makes one")
    return Group(
        *(
            Group(
                headline("●", GOOD if one.crls else BAD, text.visible(one.name)),
                facts(_authority_rows(one)),
            )
            for one in found
        )
    )


def _authority_rows(found: Authority) -> list[tuple[str, str]]:
    due = [crl.next_update_utc for crl in found.crls]
    dates = [text.moment(int(one.timestamp())) for one in due if one is not None]
    rows = [
        ("subject", text.visible(found.anchor.subject.rfc4514_string())),
        ("sha-256", digest_of(found.anchor).hex()),
        ("revocations", f"known, good until {', '.join(dates)}" if dates else "not known"),
    ]
    if found.practitioners is not None:
        content = found.practitioners.content
        amount = text.count(len(content.entries), "practitioner")
        until = text.moment(content.expires)
        rows.append(("list", f"version {content.version}, {amount}, good until {until}"))
    return rows


def published(place: Path, found: Register) -> Group:
    """Return what `authority crl` wrote."""
    return Group(
        headline("✓", GOOD, f"written: {path(place)}"),
        facts(
            [
                ("revocations", f"number {found.crl_number}"),
                ("list", f"version {found.list_version}"),
                ("next", "give it to the stations: medshare trust update FILE"),
            ]
        ),
    )

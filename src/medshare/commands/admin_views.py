"""Proposals, in plain words for people who are to decide, and as programs read them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from medshare.commands import text
from medshare.commands.admin_place import SETTINGS_IN_FILE, SHORT
from medshare.commands.views import BAD, GOOD, OPEN, QUIET, facts, headline
from medshare.ids import StationId
from medshare.trust.charter import Charter
from medshare.trust.orders import ALONE, Action, Administrator, Order
from medshare.trust.proposal import SignedProposal
from medshare.wire.admin_bodies import Result, State

if TYPE_CHECKING:
    from medshare.transport.administration import Matter

Record = dict[str, Any]
Names = Mapping[StationId, str]
_STYLES = {State.PENDING: OPEN, State.DONE: GOOD}


def who(station: StationId, names: Names) -> str:
    """Return how *station* is called, with the beginning of its id."""
    called = names.get(station)
    short = station.hex()[:16]
    return f"{text.visible(called)} ({short})" if called else short


def names_of(charter: Charter) -> dict[StationId, str]:
    """Return what the administrators call themselves."""
    return {one.card.station: one.card.name for one in charter.administrators}


def sentence(order: Order, names: Names) -> str:
    """Return, in one sentence, what will happen when *order* is carried out."""
    station, parcel = who(order.subject, names), order.parcel.hex()
    match order.action:
        case Action.ENROLL if order.card is not None:
            return f"let {who(order.subject, {order.subject: order.card.name})} use the relay"
        case Action.REMOVE:
            return f"refuse station {station} from then on; its parcels stay"
        case Action.SET_PROFILE:
            return f"change what the relay demands of station {station} beside its key"
        case Action.WITHDRAW_GRANT:
            return f"let station {station} fetch parcel {parcel} no longer"
        case Action.DELETE:
            return f"destroy parcel {parcel} now, for everybody and for good"
        case Action.HOLD:
            return f"hold parcel {parcel}: nobody deletes it, and it does not expire"
        case Action.RELEASE_HOLD:
            return f"release the hold on parcel {parcel}: it may be deleted, and expires"
        case Action.SET_POLICY:
            return "replace the bounds of the relay"
        case Action.SET_ADMINISTRATORS:
            return "replace the administrators of the relay, and void all other open proposals"
        case _:
            return str(order.action)


def order_rows(order: Order) -> list[tuple[str, str]]:
    """Return every argument of *order*, in full."""
    rows = []
    if order.card is not None:
        rows += [
            ("card of", text.visible(order.card.name)),
            ("fingerprint", order.card.fingerprint),
            ("generation", str(order.card.current.number)),
        ]
    if order.subject:
        rows.append(("station", order.subject.hex()))
    if order.profile:
        rows += profile_rows(order.profile)
    if order.action is Action.SET_POLICY:
        rows += setting_rows(order.settings)
    if order.administrators:
        rows += [("quorum", f"{order.need} of {len(order.administrators)}")]
        rows += [("administrator", _administrator(one)) for one in order.administrators]
    return rows


def profile_rows(octets: bytes) -> list[tuple[str, str]]:
    """Return everything that a profile demands, or what it is by its digest where it is unknown."""
    from hashlib import sha256

    from medshare.errors import MedshareError
    from medshare.relay.profiles import PERSON, parse_profile

    try:
        found = parse_profile(octets)
    except MedshareError:
        return [("profile", f"not known here: sha-256 {sha256(octets).hexdigest()}")]
    rows = [("profile", found.kind)]
    if found.kind == PERSON:
        touch = "security keys must verify who touches" if found.verify else "a touch is enough"
        rows.append(("second factor", f"{' or '.join(found.factors)}; {touch}"))
    if found.certificate is not None:
        digest = sha256(found.certificate.der).hexdigest()
        rows.append(("certificate", f"sha-256 {digest}"))
    rows += [("from", str(one)) for one in found.ranges]
    return rows


def setting_rows(settings: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return every setting, also those that are left as the relay was started."""
    rows = []
    for name, key in SETTINGS_IN_FILE.items():
        value = settings.get(key)
        kind = key.rpartition("_")[2]
        shown = {"bytes": text.size, "seconds": text.span}.get(kind, str)(value or 0)
        rows.append((name, "as the relay was started" if value is None else shown))
    return rows


def _administrator(one: Administrator) -> str:
    known = "person by certificate" if one.person else "no certificate"
    return f"{text.visible(one.card.name)}, {one.card.fingerprint} ({known})"


def order_record(order: Order) -> Record:
    """Return *order* as programs read it."""
    return {
        "action": str(order.action),
        "station": order.subject.hex() or None,
        "parcel": order.parcel.hex() or None,
        "fingerprint": order.card.fingerprint if order.card is not None else None,
        "profile": order.profile.hex() or None,
        "settings": dict(order.settings),
        "administrators": [one.card.station.hex() for one in order.administrators],
        "need": order.need or None,
    }


def proposal_record(proposal: SignedProposal, *, event: str) -> Record:
    """Return *proposal* as programs read it."""
    content = proposal.content
    return {
        "event": event,
        "proposal": proposal.digest.hex(),
        "fingerprint": proposal.fingerprint,
        "relay": content.relay,
        "proposer": content.proposer.hex(),
        "created": content.created,
        "expires": content.expires,
        "order": order_record(content.order),
    }


def result_record(result: Result) -> Record:
    """Return how a proposal stands, as programs read it."""
    return {
        "state": str(result.state),
        "approvals": result.approvals,
        "rejections": result.rejections,
        "needed": result.needed,
        "code": result.code or None,
    }


def asked(proposal: SignedProposal, names: Names) -> list[str]:
    """Return the lines that somebody reads before he signs."""
    content = proposal.content
    rows = [
        ("will", sentence(content.order, names)),
        *order_rows(content.order),
        ("proposed by", who(content.proposer, names)),
        ("relay", content.relay),
        ("until", text.moment(content.expires)),
        ("proposal", proposal.digest.hex()),
        ("compare", proposal.fingerprint),
    ]
    return [f"  {name:<14} {value}" for name, value in rows]


def standing(proposal: SignedProposal, result: Result) -> RenderableType:
    """Return how a proposal stands after it was handed in or voted on."""
    short = proposal.digest.hex()[:SHORT]
    line = headline("●", OPEN, f"proposal {short} waits for approval")
    if result.state is State.DONE:
        line = headline("✓", GOOD, f"proposal {short} is carried, and was done")
    elif result.state is not State.PENDING:
        line = headline("✗", BAD, f"proposal {short} is {result.state}")
    following = f"medshare admin approve {short}" if result.state is State.PENDING else ""
    rows = [
        ("approvals", f"{result.approvals} of {result.needed}"),
        ("compare", proposal.fingerprint),
        ("next", following and f"{following}   (another administrator)"),
        ("why", result.code),
    ]
    return Group(line, facts(rows))


def matter_record(matter: "Matter") -> Record:
    """Return a proposal with its votes, as programs read it."""
    return {
        **proposal_record(matter.proposal, event="proposal"),
        "state": str(matter.state),
        "decided": matter.at or None,
        "code": matter.code or None,
        "approved_by": [one.hex() for one in matter.voters(approves=True)],
        "rejected_by": [one.hex() for one in matter.voters(approves=False)],
    }


def shown(matter: "Matter", names: Names) -> RenderableType:
    """Return everything about one proposal."""
    style = _STYLES.get(matter.state, BAD)
    line = headline("●", style, f"{matter.state}: {sentence(matter.proposal.content.order, names)}")
    content = matter.proposal.content
    rows = [
        *order_rows(content.order),
        ("proposed", f"{text.moment(content.created)} by {who(content.proposer, names)}"),
        ("until", text.moment(content.expires)),
        *(("approved by", who(one, names)) for one in matter.voters(approves=True)),
        *(("rejected by", who(one, names)) for one in matter.voters(approves=False)),
        ("decided", text.moment(matter.at) if matter.at else ""),
        ("why", matter.code),
        ("relay", content.relay),
        ("proposal", matter.proposal.digest.hex()),
        ("compare", matter.proposal.fingerprint),
    ]
    return Group(line, facts(rows))


def table(matters: Sequence["Matter"], names: Names) -> RenderableType:
    """Return proposals, one a line."""
    if not matters:
        return Text("nothing was proposed yet", style=QUIET)
    grid = Table.grid(padding=(0, 2, 0, 0))
    for one in matters:
        grid.add_row(
            one.proposal.digest.hex()[:SHORT],
            Text(str(one.state), style=_STYLES.get(one.state, BAD)),
            text.moment(one.proposal.content.created),
            sentence(one.proposal.content.order, names),
        )
    return grid


def charter_record(charter: Charter, settings: Mapping[str, int], *, event: str) -> Record:
    """Return who administers a relay, as programs read it."""
    return {
        "event": event,
        "relay": charter.relay,
        "charter": charter.digest.hex(),
        "number": charter.number,
        "need": charter.need,
        "administrators": [
            {
                "station": one.card.station.hex(),
                "name": one.card.name,
                "fingerprint": one.card.fingerprint,
                "person": one.person.hex() or None,
            }
            for one in charter.administrators
        ],
        "settings": dict(settings),
        "alone": sorted(str(one) for one in ALONE),
    }


def charter_lines(charter: Charter, settings: Mapping[str, int]) -> list[str]:
    """Return who administers a relay, for people."""
    members = [("", _administrator(one)) for one in charter.administrators]
    rows = [("relay", charter.relay), *members, *setting_rows(settings)]
    first = f"{charter.need} of {len(charter.administrators)} administrators must approve"
    return [first, *(f"  {name:<14} {value}" for name, value in rows)]

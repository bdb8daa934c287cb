"""Parcels with grants, well-formed and not, and chains of parcels, lawful and not.

What opens, or is malformed, are vectors like all others.  Chains are in `vectors/lineage/`, one
envelope a file, with the rule of docs/format.md §12.4 that refuses it.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from medshare.envelope import Envelope, encode_envelope
from medshare.grant import EXTENSION, Kind, Permission, Purpose
from medshare.ids import ParcelId
from tests.builder import CREATED, Identity, Octets, Parcel, make_parcel, make_seal
from tests.forger import Forger
from tests.grants_case import after, granted, original
from tests.scenarios import FILES, A, B, Bad, C, Change, good
from tests.vector_files import FOLDER, SUFFIX, Vector

CHAINS = FOLDER / "lineage"
LATER = CREATED + 3_000_000


def stating(parcel: Parcel, sender: Identity, **facts: Any) -> Parcel:
    """Return *parcel* with other facts in its envelope, signed and sealed anew."""
    envelope, octets = encode_envelope(replace(parcel.facts, **facts), sender.signers)
    sealed, seal = make_seal(envelope, parcel.sealed.chunks, sender.signers)
    return replace(parcel, envelope=octets, facts=envelope, seal=seal, sealed=sealed)


@cache
def consultant() -> Parcel:
    """The parcel that malformed grants are made from."""
    plain = make_parcel(FILES, sender=A, recipients=[B], label="grant-consultant")
    return stating(plain, A, grants=(granted(B, "consultant"),), department="radiology")


def honest() -> Iterator[Vector]:
    """Yield the vectors with grants that must open."""
    yield good("grant-consultant", "§7.4", "b may view and annotate", consultant())
    two = make_parcel(FILES, sender=A, recipients=[B, C], label="grant-two")
    grants = (
        granted(B, "attending", purpose=Purpose.HQUALIMP, expires=LATER, openings=3),
        granted(C, "trainee"),
    )
    yield good(
        "grant-two",
        "§7.4",
        "two recipients with all that a grant can say",
        stating(two, A, grants=tuple(sorted(grants, key=lambda g: g.station))),
    )
    barred = tuple(
        sorted((granted(B, "attending"), granted(C, "auditor")), key=lambda g: g.station)
    )
    auditor = make_parcel(FILES, sender=A, recipients=[B], label="grant-auditor")
    yield good(
        "grant-auditor",
        "§7.4",
        "c is named as an auditor, and has no stanza",
        stating(auditor, A, grants=barred),
    )
    own = replace(granted(B, "attending"), role="of-our-own")
    roles = make_parcel(FILES, sender=A, recipients=[B], label="grant-own-role")
    yield good(
        "grant-own-role",
        "§7.4",
        "a role that is none of the built-in ones",
        stating(roles, A, grants=(own,)),
    )
    yield good("grant-revision", "§7.5", "a revision by a of what b sent to a", revision())
    code = make_parcel(FILES, sender=A, recipients=[B], label="grant-department")
    yield good("grant-department", "§7.4", "a department, and no grant",
               stating(code, A, department="psychiatry"))  # fmt: skip


def revision() -> Parcel:
    """A revision by a, sent to b, of an original of b."""
    first = original(B, granted(A, "attending"), label="grant-first")
    step = after(first, Kind.REVISION, A, granted(B, "attending"), label="grant-step")[0]
    plain = make_parcel(FILES, sender=A, recipients=[B], label="grant-revision")
    return stating(plain, A, grants=step.grants, lineage=step.lineage)


def says(**change: Any) -> Change:
    """Change what the envelope says of grants."""
    return lambda forger: forger.envelope["critical"][EXTENSION].update(change)


def row(place: int, value: object) -> Change:
    """Change one place of the only grant."""

    def forge(forger: Forger) -> None:
        forger.envelope["critical"][EXTENSION]["grants"][0][place] = value

    return forge


def critical(value: object) -> Change:
    """Set all that is critical."""
    return lambda forger: forger.envelope.__setitem__("critical", value)


def twice(forger: Forger) -> None:
    """Repeat the only grant."""
    grants = forger.envelope["critical"][EXTENSION]["grants"]
    grants.append(grants[0])


STEP: list[object] = ["share", bytes(16), bytes(32), bytes(16), 0, b""]


def with_step(place: int, value: object) -> Change:
    """State a lineage with one place changed."""
    return says(lineage=[*STEP[:place], value, *STEP[place + 1 :]])


def edited(forger: Forger) -> Octets:
    """Change the department after everything was signed."""
    made = forger.octets()
    return replace(made, envelope=made.envelope.replace(b"radiology", b"cardiolog", 1))


MALFORMED = (
    Bad("grant-nothing-said", "§7.4", "format", "an extension that says nothing",
        critical({EXTENSION: {"department": "", "grants": [], "lineage": None}})),
    Bad("grant-unknown-critical", "§2.5", "format.version", "a further critical extension",
        critical({EXTENSION: {"department": "x", "grants": [], "lineage": None}, "more": 1})),
    Bad("grant-missing-field", "§7.4", "format", "no field for the lineage",
        critical({EXTENSION: {"department": "x", "grants": []}})),
    Bad("grant-unknown-field", "§7.4", "format", "a field too many", says(more=1)),
    Bad("grant-department-spaced", "§7.4", "format", "a department with a space",
        says(department="ward 7")),
    Bad("grant-department-long", "§7.4", "format.limit", "a department of 33 letters",
        says(department="x" * 33)),
    Bad("grant-twice", "§7.4", "format", "two grants to one station", twice),
    Bad("grant-many", "§7.4", "format.limit", "65 grants", says(grants=[[]] * 65)),
    Bad("grant-to-a-stranger", "§7.4", "format", "a grant to view without a stanza",
        row(0, bytes(C.station))),
    Bad("grant-to-the-sender", "§7.4", "format", "a grant to the sender",
        row(0, bytes(A.station))),
    Bad("grant-role-upper-case", "§7.4", "format", "a role with a capital", row(1, "Consultant")),
    Bad("grant-unsorted", "§7.4", "format", "permissions in another order",
        row(2, ["view", "annotate"])),
    Bad("grant-permission-twice", "§7.4", "format", "a permission twice",
        row(2, ["view", "view"])),
    Bad("grant-without-view", "§7.4", "format", "annotate without view", row(2, ["annotate"])),
    Bad("grant-barred-with-stanza", "§7.4", "format", "a stanza for somebody who may not view",
        row(2, [])),
    Bad("grant-beyond-the-role", "§7.4", "format", "a consultant who may share",
        row(2, ["annotate", "share", "view"])),
    Bad("grant-permission-unknown", "§7.4", "format.version", "a permission of the future",
        row(2, ["fly", "view"])),
    Bad("grant-purpose-unknown", "§7.4", "format.version", "a purpose that HL7 does not have",
        row(3, "FUN")),
    Bad("grant-expires-late", "§7.4", "format.limit", "an end beyond the year 9999",
        row(4, 253402300800)),
    Bad("grant-expires-true", "§7.4", "format", "an end that is `true`", row(4, True)),
    Bad("grant-openings-many", "§7.4", "format.limit", "too many openings",
        row(5, (1 << 20) + 1)),
    Bad("grant-lineage-alone", "§7.5", "format", "a lineage and no grant",
        says(grants=[], lineage=STEP)),
    Bad("grant-lineage-original", "§7.5", "format", "an original with a lineage",
        with_step(0, "original")),
    Bad("grant-lineage-unknown", "§7.5", "format.version", "a kind of step of the future",
        with_step(0, "merge")),
    Bad("grant-lineage-short", "§7.5", "format", "a parcel id of 15 octets",
        with_step(1, bytes(15))),
    Bad("grant-lineage-count", "§7.5", "format.limit", "the ninth revision", with_step(4, 9)),
    Bad("grant-lineage-array", "§7.5", "format", "a lineage without anything",
        says(lineage=[])),
    Bad("grant-edited", "§3.3", "authenticity.signature", "a grant changed after it was signed",
        edited),
)  # fmt: skip


def dishonest() -> Iterator[Vector]:
    """Yield the vectors with malformed grants."""
    yield from (bad.vector(consultant()) for bad in MALFORMED)


# --- chains -----------------------------------------------------------------------------------

Made = tuple[Envelope, bytes]
TO_C = granted(C, "trainee")


def chains() -> Iterator[tuple[str, str, str, bytes]]:
    """Yield name, verdict, comment and last envelope of each chain."""
    first = original(A, granted(B, "attending"), label="lineage")
    shared = after(first, Kind.SHARE, B, granted(C, "consultant"), label="lineage shared")
    back = granted(A, "attending")
    once = after(first, Kind.REVISION, B, back, label="lineage once")
    again = after(once, Kind.REVISION, A, granted(B, "attending"), label="lineage again")
    yield "original", "success", "nothing before it", first[1]
    yield "share", "success", "b passes on what it may", shared[1]
    opinion = after(shared, Kind.OPINION, C, granted(B, "attending"), label="lineage opinion")
    yield "opinion", "success", "c answers b about what a sent", opinion[1]
    yield "revision", "success", "b amends what a sent", once[1]
    yield "revision-of-a-revision", "success", "a amends what b has amended", again[1]
    yield from _unlawful(first, shared, back)
    lies: dict[str, dict[str, Any]] = {
        "another-parent": {"parent": ParcelId(bytes(16))},
        "another-root": {"root": ParcelId(bytes(16))},
        "miscounted": {"revision": 1},
        "without-proof": {"proof": b""},
        "truncated-proof": {"proof": first[1][:-1]},
        "proof-of-another": {"proof": shared[1]},
    }
    for name, lie in lies.items():
        made = after(first, Kind.SHARE, B, TO_C, label=name, lineage=lie)
        yield name, "grant.lineage", "one thing of the lineage is not true", made[1]
    itself = after(first, Kind.REVISION, B, back, label="lineage")
    yield "after-itself", "grant.lineage", "a parcel with the id of the one before", itself[1]


def _unlawful(first: Made, shared: Made, back: Any) -> Iterator[tuple[str, str, str, bytes]]:
    trainee = original(A, granted(B, "trainee"), label="lineage trainee")
    by_trainee = after(trainee, Kind.REVISION, B, back, label="lineage 1")
    yield "amended-by-a-trainee", "grant.act", "b may only view", by_trainee[1]
    by_consultant = after(shared, Kind.SHARE, C, granted(A, "trainee"), label="lineage 2")
    yield "shared-by-a-consultant", "grant.act", "c may not share", by_consultant[1]
    by_stranger = after(first, Kind.OPINION, C, back, label="lineage 3")
    yield "by-a-stranger", "grant.act", "c was granted nothing", by_stranger[1]
    short = original(A, granted(B, "attending", expires=CREATED + 10), label="lineage short")
    late = after(short, Kind.REVISION, B, back, label="lineage 4", created=CREATED + 10)
    yield "late", "grant.late", "made when the grant had ended", late[1]
    longer = after(short, Kind.SHARE, B, TO_C, label="lineage 5")
    yield "longer", "grant.wider", "passed on for longer than b has it", longer[1]
    few = original(A, granted(B, "attending", openings=2), label="lineage few")
    oftener = after(few, Kind.SHARE, B, granted(C, "trainee", openings=3), label="lineage 6")
    yield "more-often", "grant.wider", "passed on for more openings than b has", oftener[1]
    other = after(first, Kind.SHARE, B, granted(C, "trainee", purpose=Purpose.HRESCH),
                  label="lineage 7")  # fmt: skip
    yield "another-purpose", "grant.wider", "passed on for research", other[1]
    sharer = replace(granted(B, "trainee"), role="sharer")
    sharer = replace(sharer, permissions=frozenset({Permission.VIEW, Permission.SHARE}))
    less = original(A, sharer, label="lineage sharer")
    more = after(less, Kind.SHARE, B, granted(C, "consultant"), label="lineage 8")
    yield "more-than-one-has", "grant.wider", "b may not annotate, and grants it", more[1]


def write() -> None:
    """Write the chains anew."""
    CHAINS.mkdir(exist_ok=True)
    for file in CHAINS.glob(f"*{SUFFIX}"):
        file.unlink()
    for name, expect, comment, data in chains():
        vector = Vector(name, "§12.4", expect, expect, comment, {"envelope": data})
        (CHAINS / f"{name}{SUFFIX}").write_bytes(vector.encode())

"""Chains of parcels: what was allowed is accepted, everything else refused, and nobody gains."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.digest import Digest
from medshare.envelope import Envelope, parse_envelope
from medshare.errors import GrantError, MedshareError
from medshare.grant import MAX_ANCESTORS, NEEDS, Grant, Kind, Permission, Purpose
from medshare.ids import ParcelId, StationId
from medshare.trust.lineage import (
    EVERYTHING,
    Power,
    chain_of,
    continued,
    department_of,
    narrowed,
    powers_in,
    require_lawful,
)
from tests.builder import CREATED
from tests.grants_case import A, B, C, D, after, granted, original

P = Permission
Made = tuple[Envelope, bytes]
ATTENDING = granted(B, "attending")


def code_of(made: Made) -> str:
    """Return which rule refuses the chain that ends in *made*; nothing if none does."""
    try:
        require_lawful(parse_envelope(made[1]))
    except GrantError as error:
        return error.code
    return ""


def test_an_original_is_a_chain_of_one() -> None:
    """What continues nothing needs nobody's leave, with grants and without."""
    for made in (original(A, ATTENDING), original(A)):
        assert require_lawful(made[0]) == (made[0],)


def test_what_was_granted_is_accepted() -> None:
    """Share, answer, amend, amend again: each by somebody whom the step before allowed it."""
    first = original(A, ATTENDING)
    shared = after(first, Kind.SHARE, B, granted(C, "consultant"), label="shared")
    opinion = after(shared, Kind.OPINION, C, granted(B, "attending"), label="opinion")
    revision = after(first, Kind.REVISION, B, granted(A, "attending"), label="revision")
    again = after(revision, Kind.REVISION, A, ATTENDING, label="again")
    for made in (shared, opinion, revision, again):
        assert code_of(made) == ""
    lineage = parse_envelope(again[1]).lineage
    assert lineage is not None
    assert (lineage.revision, lineage.root) == (2, first[0].parcel)
    assert [one.parcel for one in chain_of(again[0])] == [
        first[0].parcel, revision[0].parcel, again[0].parcel,
    ]  # fmt: skip


def test_whoever_was_not_granted_it_is_refused() -> None:
    """An amendment by a trainee, a share by a consultant, an act by a stranger."""
    first = original(A, granted(B, "trainee"), granted(C, "consultant"))
    to_a = granted(A, "attending")
    assert code_of(after(first, Kind.REVISION, B, to_a)) == "grant.act"
    assert code_of(after(first, Kind.OPINION, B, to_a)) == "grant.act"
    assert code_of(after(first, Kind.OPINION, C, to_a)) == ""
    assert code_of(after(first, Kind.SHARE, C, granted(D, "trainee"))) == "grant.act"
    assert code_of(after(first, Kind.OPINION, D, to_a)) == "grant.act"


@pytest.mark.parametrize(
    ("held", "given"),
    [
        ({}, granted(C, "attending")),
        ({"expires": CREATED + 100}, granted(C, "consultant")),
        ({"expires": CREATED + 100}, granted(C, "consultant", expires=CREATED + 101)),
        ({"openings": 3}, granted(C, "consultant")),
        ({"openings": 3}, granted(C, "consultant", openings=4)),
        ({}, granted(C, "consultant", purpose=Purpose.HRESCH)),
    ],
    ids=["permission", "endless", "later", "countless", "more", "purpose"],
)
def test_nobody_passes_on_more_than_he_has(held: dict[str, Any], given: Grant) -> None:
    """Permissions, end, openings and purpose of a share are at most those of its signer."""
    own = replace(granted(B, "consultant", P.EXPORT, **held), role="registrar")
    own = replace(own, permissions=own.permissions | {P.SHARE})
    first = original(A, own)
    assert code_of(after(first, Kind.SHARE, B, given)) == "grant.wider"
    assert code_of(after(first, Kind.SHARE, B, granted(C, "trainee", **held))) == ""


def test_the_end_of_the_parcel_ends_its_grants() -> None:
    """What is passed on from a parcel that is erased at a time lasts no longer."""
    first = original(A, ATTENDING, delete_after=CREATED + 50)
    endless = granted(C, "trainee")
    assert code_of(after(first, Kind.SHARE, B, endless)) == "grant.wider"
    assert code_of(after(first, Kind.SHARE, B, endless, delete_after=CREATED + 50)) == ""
    ending = granted(C, "trainee", expires=CREATED + 50)
    assert code_of(after(first, Kind.SHARE, B, ending)) == ""


def test_an_act_after_the_end_is_refused() -> None:
    """Who states a time after the end of the own grant convicts himself."""
    first = original(A, granted(B, "attending", expires=CREATED + 10))
    to_a = granted(A, "attending")
    assert code_of(after(first, Kind.REVISION, B, to_a, created=CREATED + 9)) == ""
    assert code_of(after(first, Kind.REVISION, B, to_a, created=CREATED + 10)) == "grant.late"


def test_a_revision_goes_to_those_who_have_it() -> None:
    """Without `share`, an amendment reaches nobody new, and gives those who have it no more."""
    amends = replace(granted(B, "attending"), role="registrar")
    amends = replace(amends, permissions=frozenset({P.VIEW, P.AMEND}))
    first = original(A, amends, granted(C, "trainee"))
    assert code_of(after(first, Kind.REVISION, B, granted(D, "trainee"))) == "grant.wider"
    assert code_of(after(first, Kind.REVISION, B, granted(C, "consultant"))) == "grant.wider"
    assert code_of(after(first, Kind.REVISION, B, granted(C, "trainee"))) == ""
    assert code_of(after(first, Kind.REVISION, B, granted(A, "attending"))) == ""


@pytest.mark.parametrize(
    "lie",
    [
        {"parent": ParcelId(bytes(16))},
        {"digest": Digest(bytes(32))},
        {"root": ParcelId(bytes(16))},
        {"revision": 1},
        {"proof": b""},
        {"proof": b"no envelope"},
    ],
    ids=lambda lie: next(iter(lie)),
)
def test_a_lie_about_what_was_before_is_refused(lie: dict[str, Any]) -> None:
    """Parent, digest, root, count and proof are held against each other."""
    first = original(A, ATTENDING)
    assert code_of(after(first, Kind.SHARE, B, granted(C, "trainee"), lineage=lie)) == (
        "grant.lineage"
    )


def test_a_forged_proof_is_refused() -> None:
    """A proof with one bit changed is no proof, wherever that bit is."""
    first = original(A, granted(B, "consultant"))
    forged = first[1].replace(b"\x68annotate", b"\x65shareee"[:9], 1)
    for proof in (forged, first[1][:-1], first[1] + b"\0"):
        lie = {"proof": proof}
        made = after(first, Kind.SHARE, B, granted(C, "trainee"), lineage=lie)
        assert code_of(made) == "grant.lineage"


def test_a_chain_has_an_end() -> None:
    """As many parcels as the format allows continue one another, and not one more."""
    people = [A, B]
    made = original(A, ATTENDING)
    for step in range(1, MAX_ANCESTORS + 1):
        signer, to = people[step % 2], people[(step + 1) % 2]
        made = after(made, Kind.REVISION, signer, granted(to, "attending"), label=f"step {step}")
    assert code_of(made) == ""
    assert len(chain_of(made[0])) == MAX_ANCESTORS + 1
    with pytest.raises(MedshareError):
        after(made, Kind.REVISION, B, granted(A, "attending"), label="beyond")
    shared = after(made, Kind.SHARE, B, granted(C, "trainee"), label="beyond")
    assert code_of(shared) == "grant.lineage"


def test_no_parcel_comes_after_itself() -> None:
    """A parcel that takes the id of one before it is refused."""
    first = original(A, ATTENDING, label="one")
    again = after(first, Kind.REVISION, B, granted(A, "attending"), label="one")
    assert code_of(again) == "grant.lineage"


# --- no sequence of acts gives anyone what no grant gave ------------------------------------

PEOPLE = (A, B, C, D)
SETS = (
    {P.VIEW},
    {P.VIEW, P.EXPORT},
    {P.VIEW, P.ANNOTATE},
    {P.VIEW, P.SHARE},
    {P.VIEW, P.AMEND},
    {P.VIEW, P.EXPORT, P.SHARE},
    set(P),
)
ENDS = (0, CREATED + 100, CREATED + 200)


@dataclass(frozen=True)
class Act:
    """One step that somebody tries."""

    kind: Kind
    signer: int
    grants: tuple[Grant, ...]


def grants_by(signer: int) -> st.SearchStrategy[tuple[Grant, ...]]:
    """Return grants to one or two others."""
    one = st.builds(
        Grant,
        station=st.sampled_from([p.station for i, p in enumerate(PEOPLE) if i != signer]),
        role=st.just("somebody"),
        permissions=st.sampled_from([frozenset(each) for each in SETS]),
        purpose=st.sampled_from([Purpose.TREAT, Purpose.HRESCH]),
        expires=st.sampled_from(ENDS),
        openings=st.sampled_from([0, 2, 5]),
    )
    return st.lists(one, min_size=1, max_size=2, unique_by=lambda g: g.station).map(tuple)


ACTS = st.integers(0, 3).flatmap(
    lambda signer: st.builds(
        Act, kind=st.sampled_from(list(NEEDS)), signer=st.just(signer), grants=grants_by(signer)
    )
)


class Model:
    """Who may do what, written down without looking at `trust.lineage`."""

    def __init__(self, first: tuple[Grant, ...]) -> None:
        self.owner = A.station
        self.held: dict[StationId, Grant] = {one.station: one for one in first}

    @staticmethod
    def _no_more(new: Grant, old: Grant) -> bool:
        ends = old.expires == 0 or 0 < new.expires <= old.expires
        times = old.openings == 0 or 0 < new.openings <= old.openings
        return new.permissions <= old.permissions and ends and times and new.purpose == old.purpose

    def _within(self, station: StationId, new: Grant) -> bool:
        if station == self.owner:
            return True
        old = self.held.get(station)
        return old is not None and self._no_more(new, old)

    def allows(self, act: Act) -> bool:
        """Tell whether *act* is allowed now."""
        signer = PEOPLE[act.signer].station
        own = self.held.get(signer)
        may = signer == self.owner or (own is not None and NEEDS[act.kind] in own.permissions)
        shares = signer == self.owner or (own is not None and P.SHARE in own.permissions)
        return may and all(
            (shares and self._within(signer, new))
            or (act.kind is not Kind.SHARE and self._within(new.station, new))
            for new in act.grants
        )

    def do(self, act: Act) -> None:
        """Let *act* have happened: whoever is not named in it has nothing of it."""
        signer = PEOPLE[act.signer].station
        own = {} if signer == self.owner else {signer: self.held[signer]}
        self.held = {one.station: one for one in act.grants if one.station != self.owner} | own


@given(first=grants_by(0), acts=st.lists(ACTS, min_size=1, max_size=4))
def test_no_sequence_of_acts_gives_anyone_what_no_grant_gave(
    first: tuple[Grant, ...], acts: list[Act]
) -> None:
    """What the model allows is accepted, nothing else, and all power is from the owner's grants."""
    model, made = Model(first), original(A, *first)
    by_owner = list(first)
    for number, act in enumerate(acts):
        signer = PEOPLE[act.signer]
        tried = after(made, act.kind, signer, *act.grants, label=f"act {number}")
        assert (code_of(tried) == "") is model.allows(act)
        if not model.allows(act):
            continue
        model.do(act)
        made = tried
        by_owner += act.grants if signer is A else ()
        for station, power in powers_in(chain_of(made[0])).items():
            if station != A.station:
                _assert_given(power, by_owner)


def _assert_given(power: Power, by_owner: list[Grant]) -> None:
    for permission in power.permissions:
        assert any(
            permission in one.permissions
            and (one.expires == 0 or 0 < power.until <= one.expires)
            and (one.openings == 0 or 0 < power.openings <= one.openings)
            and one.purpose == power.purpose
            for one in by_owner
        )


@given(held=grants_by(0), asked=grants_by(0), end=st.sampled_from(ENDS))
def test_what_is_narrowed_is_covered(
    held: tuple[Grant, ...], asked: tuple[Grant, ...], end: int
) -> None:
    """What a station grants after narrowing, others accept; what was narrow enough stays."""
    power = Power.of(held[0], original(A, held[0])[0])
    less = narrowed(power, asked[0], delete_after=end)
    made = original(A, less, delete_after=end)[0]
    assert power.covers(Power.of(made.grants[0], made))
    assert narrowed(EVERYTHING, asked[0], delete_after=end) == asked[0]


def test_what_is_passed_on_stays_of_its_department() -> None:
    """Nobody takes content out of a department by passing it on; an opinion can have its own."""
    first = original(A, granted(B, "attending"), department="psychiatry")
    passed = {
        named: after(first, Kind.SHARE, B, granted(C, "attending"), department=named)
        for named in ("", "surgery", "psychiatry")
    }
    assert {department_of(one) for one, _ in passed.values()} == {"psychiatry"}
    twice = after(passed["surgery"], Kind.SHARE, C, granted(D, "trainee"), label="twice")
    assert department_of(twice[0]) == "psychiatry"
    revised = after(first, Kind.REVISION, B, granted(C, "trainee"), department="surgery")
    assert department_of(revised[0]) == "psychiatry"
    for named, of in (("", "psychiatry"), ("surgery", "surgery")):
        opinion = after(first, Kind.OPINION, B, granted(A, "attending"), department=named)
        assert department_of(opinion[0]) == of
    plain = original(A, granted(B, "attending"))
    assert department_of(plain[0]) == ""
    of_surgery = after(plain, Kind.SHARE, B, granted(C, "trainee"), department="surgery")
    assert department_of(of_surgery[0]) == "surgery"


def test_continued_states_what_follows() -> None:
    """The lineage that a sender writes is the one that a reader computes."""
    first = original(A, ATTENDING)
    stated = continued(*first[:1], Kind.REVISION, first[1])
    assert (stated.parent, stated.root, stated.revision) == (
        first[0].parcel, first[0].parcel, 1,
    )  # fmt: skip

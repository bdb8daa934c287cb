"""A small authority: what it asks, issues, revokes and publishes, and who takes it in."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given

from medshare.authority.anchors import Authorities
from medshare.authority.held import Credentials, require_licensed
from medshare.authority.office import Office, Person
from medshare.authority.register import Register, parse_register
from medshare.authority.request import Request, make_request, read_request
from medshare.authority.signing import certificate_signer, loaded, sign_certificate, sign_crl
from medshare.errors import (
    CredentialError,
    FormatError,
    MedshareError,
    StorageError,
    UsageError,
)
from medshare.keys.base import KeyStore
from medshare.keys.file import FileBackend
from medshare.station import Identity
from medshare.suites import suite_named
from medshare.suites.signatures import ECDSA_P256, signer_from_seed
from medshare.trust.authority_update import updated
from medshare.trust.bundle import (
    CARD,
    CERTIFICATE,
    CRL,
    REQUEST,
    Block,
    read_blocks,
    write_blocks,
)
from medshare.trust.card import Generation, issue, station_id
from medshare.trust.certification import Authority, vet
from medshare.trust.hcrole import role_named
from medshare.trust.revocation_list import load_crl
from tests.builder import make_identity, octets
from tests.certifier import DAY, NOW, authority_certificate, credential, crl, listing, moment
from tests.people import CHEAP, PASSPHRASE, make_person
from tests.people import Person as Someone
from tests.strategies import damaged

YEAR = 365 * DAY
BACKEND = FileBackend(PASSPHRASE, cost=CHEAP)
WANG = Person("Dr Wang Li", "110023", role_named("specialist"), "radiology", "St. Mary")


@dataclass
class World:
    """An authority, and two stations that know each other."""

    office: Office
    store: KeyStore
    a: Someone
    wang: Someone

    def issue(self, person: Person = WANG, *, now: int = NOW) -> x509.Certificate:
        """Certify the doctor's station."""
        request = read_request(make_request(self.wang.identity))
        done = self.office.issue(request, person, self.store, valid=YEAR, now=now)
        return done.certificate

    def publish(self, *, now: int = NOW) -> tuple[Block, ...]:
        """What the authority publishes now."""
        return read_blocks(self.office.publish(self.store, valid=7 * DAY, now=now), what="it")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Someone, Someone]:
    """Two stations."""
    root = tmp_path_factory.mktemp("people")
    return make_person(root / "a", "St. Mary"), make_person(root / "wang", "Dr Wang Li")


@pytest.fixture
def world(tmp_path: Path, people: tuple[Someone, Someone]) -> Iterator[World]:
    """A new authority; the first station forgets at the end what it has learnt."""
    office = Office.create(BACKEND, tmp_path / "ca", name="Health Commission", now=NOW)
    a, wang = people
    a.trust(wang, "wang")
    yield World(office, BACKEND.open(office.keys), a, wang)
    for folder in ("authorities", "credentials"):
        for path in (a.station.home / folder).glob("*"):
            path.unlink()


def code_of(act: Callable[[], object]) -> str:
    """The code with which something is refused."""
    with pytest.raises(MedshareError) as caught:
        act()
    return caught.value.code


def test_who_is_certified_is_vetted_until_revoked(world: World) -> None:
    """Issued, published, attached and vetted; revoked and published, refused from then on."""
    known = Authorities(world.a.station.home)
    known.add([world.office.certificate], name="commission", now=NOW)
    contact = world.a.station.contacts.named("wang")
    assert code_of(lambda: require_licensed(world.a.station, [contact], now=NOW)) == (
        "credential.missing"
    )
    leaf = world.issue()
    Credentials(world.a.station).attach((leaf,), contact.card)
    known.update(world.publish(), now=NOW)
    vetted = Credentials(world.a.station).require(contact, now=NOW)
    assert (vetted.credential.name, vetted.authority) == ("Dr Wang Li", "commission")

    serial = f"{leaf.serial_number:x}"
    world.office.revoke(serial[:8], reason="privilege-withdrawn", now=NOW + 1)
    known.update(world.publish(now=NOW + 1), now=NOW + 1)
    with pytest.raises(CredentialError, match=r"wang has no .* revoked .*\(privilegeWithdrawn\)"):
        require_licensed(world.a.station, [contact], now=NOW + 2)
    standing = Credentials(world.a.station).standing(contact.station, contact.card, now=NOW + 2)
    assert standing.vetted is None
    assert standing.held is not None


def test_a_renewed_certificate_is_good_when_the_old_one_has_expired(world: World) -> None:
    """Renewing keeps person, role, station and key; only the dates and the number change."""
    known = Authorities(world.a.station.home)
    known.add([world.office.certificate], name="commission", now=NOW)
    contact = world.a.station.contacts.named("wang")
    old = world.issue()
    later = NOW + YEAR - DAY
    done = world.office.renew(f"{old.serial_number:x}", world.store, valid=YEAR, now=later)
    Credentials(world.a.station).attach((done.certificate,), contact.card)
    known.update(world.publish(now=later), now=later)
    vetted = Credentials(world.a.station).require(contact, now=NOW + YEAR + DAY)
    assert (vetted.credential.role, vetted.credential.licence) == ("specialist", "110023")
    assert vetted.credential.certificate.serial_number != old.serial_number


@pytest.mark.parametrize(
    ("reason", "revoked"), [("key-compromise", 2), ("unspecified", 2), ("superseded", 1)]
)
def test_with_one_certificate_go_all_of_the_licence(
    world: World, reason: str, revoked: int
) -> None:
    """A revoked person has no second certificate that is good; a superseded one goes alone."""
    first = world.issue()
    world.issue()
    world.issue(replace(WANG, licence="2"))
    world.office.revoke(f"{first.serial_number:x}", reason=reason, now=NOW)
    found = world.office.register().issued
    assert [bool(one.revoked_at) for one in found].count(True) == revoked
    assert not found[2].revoked_at


def test_what_the_register_refuses(world: World) -> None:
    """Unknown or short numbers, revoking twice and renewing what is revoked are UsageErrors."""
    serial = f"{world.issue().serial_number:x}"
    office = world.office
    office.revoke(serial, reason="cessation", now=NOW)
    for act in (
        lambda: office.revoke(serial, reason="cessation", now=NOW),
        lambda: office.renew(serial, world.store, valid=YEAR, now=NOW),
        lambda: office.register().found("ffffffff"),
        lambda: office.register().found(serial[:3]),
        lambda: Office.create(BACKEND, office.folder, name="x", now=NOW),
        lambda: Office.open(office.folder / "nothing"),
    ):
        assert code_of(act) == "usage"


def test_a_certificate_does_not_outlive_its_authority(world: World) -> None:
    """A validity beyond the authority's own is refused."""
    request = read_request(make_request(world.wang.identity))
    with pytest.raises(UsageError, match="longer than that of the authority"):
        world.office.issue(request, WANG, world.store, valid=11 * YEAR, now=NOW)


@pytest.mark.parametrize(
    "change",
    [{"licence": ""}, {"licence": "11\u0661"}, {"name": ""}, {"name": "a\nb"}, {"name": "x" * 65}],
    ids=repr,
)
def test_what_cannot_stand_in_a_certificate_is_refused(change: dict[str, str]) -> None:
    """Empty, invisible, too long or unprintable texts are UsageErrors before anything is signed."""
    with pytest.raises(UsageError):
        replace(WANG, **change)  # type: ignore[arg-type]  # only texts are changed


def test_each_publication_follows_the_one_before(world: World) -> None:
    """Numbers grow, and lists chain, so that a station that missed some can follow."""
    known = Authorities(world.a.station.home)
    known.add([world.office.certificate], name="commission", now=NOW)
    first, second, third = world.publish(), world.publish(now=NOW + 1), world.publish(now=NOW + 2)
    known.update(first, now=NOW + 3)
    known.update(third, now=NOW + 3)
    assert code_of(lambda: known.update(second, now=NOW + 3)) == "credential.rollback"
    (kept,) = known.all()
    assert kept.practitioners is not None
    assert kept.practitioners.content.version == 3


def test_a_register_is_read_strictly(world: World) -> None:
    """What is written is read; damaged octets are a StorageError that names the file."""
    world.issue()
    found = world.office.register()
    assert parse_register(found.encode()) == found
    assert parse_register(Register().encode()) == Register()
    (world.office.folder / "register").write_bytes(found.encode()[:-1])
    with pytest.raises(StorageError, match="damaged"):
        world.office.register()


@given(damaged(Register(1, 1, (bytes(32),)).encode()))
def test_no_damage_to_a_register_goes_unnoticed_or_crashes(data: bytes) -> None:
    """Damaged octets are a FormatError, or another register."""
    try:
        found = parse_register(data)
    except FormatError:
        return
    assert isinstance(found, Register)


def request_blocks(world: World) -> dict[str, bytes]:
    """The two blocks of a good request."""
    blocks = read_blocks(make_request(world.wang.identity), what="the request")
    return {block.label: block.content for block in blocks}


def read_changed(blocks: dict[str, bytes]) -> Request:
    """Read a request of these blocks."""
    return read_request(write_blocks(Block(*item) for item in blocks.items()))


def test_a_request_is_held_against_its_card(world: World) -> None:
    """A changed request, another's card, and one without a card are refused."""
    good = request_blocks(world)
    other = world.a.station.card.encoded
    flipped = bytearray(good[REQUEST])
    flipped[-1] ^= 1
    assert read_changed(good).card == world.wang.station.card
    assert code_of(lambda: read_changed(good | {CARD: other})) == "credential.key"
    assert code_of(lambda: read_changed(good | {REQUEST: bytes(flipped)})) == "credential.signature"
    assert code_of(lambda: read_changed({REQUEST: good[REQUEST]})) == "format"
    assert code_of(lambda: read_changed(good | {REQUEST: b"\x30\x00"})) == "format"


def token_identity() -> Identity:
    """A station whose signature key is P-256, as in a token."""
    signer = signer_from_seed(ECDSA_P256, octets("token"))
    opener = make_identity("token").openers[0]
    suite = suite_named("intl")
    generation = Generation(
        station_id(suite, [signer.public]),
        0,
        "token",
        "intl",
        NOW,
        (signer.public,),
        (opener.public,),
    )
    card = issue(generation, (signer,), before=None, old=())
    return Identity(card.station, card, (signer,), (opener,), signer)


def both_families() -> Identity:
    """A station with keys of both families."""
    person = make_identity("both", "gm+intl")
    signers = person.signers
    return Identity(person.station, person.card, signers, person.openers, signers[0])


@pytest.mark.parametrize("make", [token_identity, both_families])
def test_keys_of_other_kinds_can_be_certified(world: World, make: Callable[[], Identity]) -> None:
    """P-256 keys, as tokens hold, and stations of both families are certified and vetted."""
    identity = make()
    request = read_request(make_request(identity))
    done = world.office.issue(request, WANG, world.store, valid=YEAR, now=NOW)
    authority = updated(
        Authority("commission", (world.office.certificate,)),
        [load_crl(one.content) for one in world.publish() if one.label == CRL],
        [],
        now=NOW,
    )
    vetted = vet((done.certificate,), identity.card, [authority], others=(), now=NOW)
    assert vetted.credential.station == identity.station


def test_an_authority_may_have_a_p256_key() -> None:
    """What a token signs, certificates and revocation lists, is verified like the rest."""
    signer = signer_from_seed(ECDSA_P256, octets("token"))
    start = x509.CertificateRevocationListBuilder(authority_certificate().subject)
    builder = start.last_update(moment(NOW)).next_update(moment(NOW + DAY))
    signed = sign_crl(builder, signer)
    key = loaded(signer.public)
    assert signed.is_signature_valid(key)
    names = x509.Name([])
    certificate = sign_certificate(
        x509.CertificateBuilder(names, names, key)
        .serial_number(1)
        .not_valid_before(moment(NOW))
        .not_valid_after(moment(NOW + DAY)),
        signer,
    )
    certificate.verify_directly_issued_by(certificate)


def test_sm2_alone_cannot_be_certified() -> None:
    """A station with SM2 keys only is told so."""
    with pytest.raises(CredentialError) as caught:
        certificate_signer(make_identity("gm", "gm").signers)
    assert caught.value.code == "credential.key"


def test_an_authority_is_trusted_once_under_a_name_of_its_own(world: World) -> None:
    """A second import, a look-alike name, and an unknown name are UsageErrors."""
    known = Authorities(world.a.station.home)
    known.add([world.office.certificate], name="commission", now=NOW)
    twice = lambda: known.add([world.office.certificate], name="other", now=NOW)  # noqa: E731
    alike = lambda: known.add([authority_certificate()], name="c0mmission", now=NOW)  # noqa: E731
    assert code_of(twice) == code_of(alike) == "usage"
    assert code_of(lambda: known.add([], name="x", now=NOW)) == "usage"
    assert code_of(lambda: known.remove("comission")) == "usage"
    assert known.remove("Commission").name == "commission"
    assert known.all() == ()


def test_an_update_of_nobody_changes_nothing(world: World) -> None:
    """Lists of an authority that is not trusted here are refused, and so is an empty file."""
    known = Authorities(world.a.station.home)
    known.add([authority_certificate()], name="other", now=NOW)
    assert code_of(lambda: known.update(world.publish(), now=NOW)) == "credential.chain"
    (crl_alone,) = (one for one in world.publish() if one.label == "X509 CRL")
    assert code_of(lambda: known.update((crl_alone,), now=NOW)) == "credential.signature"
    known.add([world.office.certificate], name="commission", now=NOW)
    assert known.update((crl_alone,), now=NOW).name == "commission"
    nothing = (Block(CERTIFICATE, b"x"),)
    assert code_of(lambda: known.update(nothing, now=NOW)) == "format"


def test_a_damaged_file_of_an_authority_is_named(world: World) -> None:
    """A list that was changed on disk is a StorageError, not a list."""
    known = Authorities(world.a.station.home)
    known.add([world.office.certificate], name="commission", now=NOW)
    known.update(world.publish(), now=NOW)
    (path,) = (p for p in (world.a.station.home / "authorities").iterdir() if p.name[0] != ".")
    for at in (20, -20):
        good = path.read_bytes()
        bad = bytearray(good)
        bad[at] ^= 1
        path.write_bytes(bytes(bad))
        with pytest.raises(StorageError, match="damaged"):
            known.all()
        path.write_bytes(good)


def test_a_credential_is_kept_only_with_its_card(world: World) -> None:
    """Another station's certificate, or one of nobody who is known, is not kept."""
    credentials = Credentials(world.a.station)
    leaf = world.issue()
    own = world.a.station.card
    assert code_of(lambda: credentials.attach((leaf,), own)) == "credential.station"
    assert code_of(lambda: credentials.card_for((credential(),))) == "credential.station"
    assert credentials.card_for((leaf,)) == world.wang.station.card
    assert credentials.of(world.wang.station.id) == ()


def test_lists_of_an_authority_with_another_tool_work(world: World) -> None:
    """A hospital's own revocation list alone is enough; a list of practitioners is no must."""
    known = Authorities(world.a.station.home)
    known.add([authority_certificate()], name="hospital", now=NOW)
    octets_of = crl(3).public_bytes(Encoding.DER)
    updated = known.update((Block("X509 CRL", octets_of),), now=NOW)
    assert (len(updated.crls), updated.practitioners) == (1, None)
    with_list = (Block("MEDSHARE PRACTITIONERS", listing(goes_with=crl(3)).encoded),)
    assert known.update(with_list, now=NOW).practitioners is not None

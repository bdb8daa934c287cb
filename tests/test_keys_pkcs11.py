"""The keystore in a token, against SoftHSM2: what it keeps, and what it does when it is well."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from medshare.errors import IntegrityError, KeyUnavailableError, StorageError, TokenError
from medshare.keys import pkcs11_objects as objects
from medshare.keys.base import KeyStore, Purpose, pending_generation
from medshare.keys.kinds import backend_of
from medshare.keys.pkcs11 import TOKEN_FILE, TokenBackend, TokenKeyStore
from medshare.keys.pkcs11_session import Connection
from medshare.keys.pkcs11_uri import KeyName, parse_uri
from medshare.suites import p256
from medshare.suites.kem import wrap
from medshare.suites.signatures import Verifier
from tests import softhsm
from tests.builder import octets
from tests.fault import Killed, count_changes, killed_at
from tests.suites.keystore_suite import CREATED, KEY, LATER, KeyStoreSuite

pytestmark = pytest.mark.service

OBJECTS = 4
"""In the token for each generation: two key pairs."""


def make(folder: Path) -> TokenKeyStore:
    """Return a new keystore in the token."""
    return softhsm.backend().create(folder, created=CREATED)


def reopen(folder: Path) -> TokenKeyStore:
    """Return the same keystore after all sessions have ended."""
    softhsm.restart(noticed=False)
    return softhsm.backend().open(folder)


class TestTokenKeyStore(KeyStoreSuite):
    """A token keeps the contract of all backends."""

    def make(self, folder: Path) -> KeyStore:
        """Return a new keystore in the token."""
        return make(folder)

    def reopen(self, folder: Path) -> KeyStore:
        """Return the same keystore after all sessions have ended."""
        return reopen(folder)


def objects_of(store: TokenKeyStore) -> list[Any]:
    """Return all objects in the token that carry the name of the store."""
    from pkcs11 import Attribute

    prefix = f"medshare {store._record.store.hex()} "

    def listed(token: Connection) -> list[Any]:
        token.session.generate_random(64)  # a search in a lost session would warn
        found = token.session.get_objects()
        return [one for one in found if one[Attribute.LABEL].startswith(prefix)]

    return store._token.run(listed, what="list keys")


def test_private_keys_and_keks_cannot_leave_the_token(tmp_path: Path) -> None:
    """Every secret object is sensitive from its birth, and the token gives none of them away."""
    from pkcs11 import Attribute, ObjectClass
    from pkcs11.exceptions import PKCS11Error

    store = make(tmp_path)
    store.make_kek("routine/0", created=CREATED)
    secret = {ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY}
    found = [one for one in objects_of(store) if one.object_class in secret]
    assert len(found) == 3
    for one in found:
        assert one[Attribute.SENSITIVE]
        assert one[Attribute.ALWAYS_SENSITIVE]
        assert one[Attribute.NEVER_EXTRACTABLE]
        assert one[Attribute.PRIVATE]
        assert not one[Attribute.EXTRACTABLE]
        with pytest.raises(PKCS11Error):
            one[Attribute.VALUE]


def test_no_key_of_the_token_serves_two_purposes(tmp_path: Path) -> None:
    """What signs cannot agree on keys, what agrees cannot sign, and a KEK only wraps."""
    from pkcs11 import Attribute, ObjectClass

    store = make(tmp_path)
    store.make_kek("routine/0", created=CREATED)
    uses = (Attribute.SIGN, Attribute.DERIVE, Attribute.DECRYPT, Attribute.UNWRAP)
    secret = {ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY}
    allowed = [
        [use for use in uses if one[use]] for one in objects_of(store) if one.object_class in secret
    ]
    assert sorted(allowed) == sorted([[Attribute.SIGN], [Attribute.DERIVE], [Attribute.UNWRAP]])


def test_nothing_that_lives_for_one_call_stays(tmp_path: Path) -> None:
    """Opening, wrapping and unwrapping leave no object in token or session, also when they fail."""
    store = make(tmp_path)
    store.make_kek("routine/0", created=CREATED)

    def count() -> int:
        return store._token.run(lambda token: len(list(token.session.get_objects())), what="count")

    before = count()
    opener = store.openers(0)[0]
    opener.unwrap(wrap(opener.public, b"secret", info=b""), info=b"")
    wrapped = store.wrap_key("routine/0", KEY)
    store.unwrap_key("routine/0", wrapped)
    with pytest.raises(IntegrityError):
        store.unwrap_key("routine/0", bytes(40))
    assert count() == before


def test_the_record_holds_names_and_public_keys_only(tmp_path: Path) -> None:
    """The file beside the card names the token in full, and neither its module nor the PIN."""
    store = make(tmp_path)
    content = (tmp_path / TOKEN_FILE).read_bytes()
    assert softhsm.PIN not in content
    assert b"libsofthsm" not in content
    assert store._record.uri.token == "medshare"
    assert store._record.uri.serial
    assert backend_of(tmp_path) == store.backend == "pkcs11"


def test_keys_are_named_by_uris(tmp_path: Path) -> None:
    """Each record has the RFC 7512 name by which other tools find the key."""
    store = make(tmp_path)
    store.make_kek("routine/0", created=CREATED)
    named = [one.uri for one in store.records()] + [one.uri for one in store.keks()]
    uris = [parse_uri(text) for text in named]
    assert [uri.type for uri in uris] == ["private", "private", "secret-key"]
    assert {uri.token for uri in uris} == {"medshare"}
    assert {uri.id for uri in uris} <= {one.id for one in objects_of(store)}
    assert len({uri.id for uri in uris}) == 3


def test_stations_in_one_token_do_not_see_each_other(tmp_path: Path) -> None:
    """Two keystores in one token have keys of their own, and KEKs of the same name."""
    stores = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        stores.append(make(tmp_path / name))
        stores[-1].make_kek("routine/0", created=CREATED)
    first, second = stores
    assert {r.public for r in first.records()}.isdisjoint({r.public for r in second.records()})
    with pytest.raises(IntegrityError):
        second.unwrap_key("routine/0", first.wrap_key("routine/0", KEY))
    first.destroy_kek("routine/0")
    assert second.unwrap_key("routine/0", second.wrap_key("routine/0", KEY)) == KEY


def test_threads_share_the_token(tmp_path: Path) -> None:
    """Signing and opening from several threads at once gives right results each time."""
    store = make(tmp_path)
    signer, opener = store.signers(0)[0], store.openers(0)[0]
    verifier = Verifier(signer.public)

    def work(number: int) -> None:
        message = f"message {number}".encode()
        verifier.verify(signer.sign(message), message, what="it")
        assert opener.unwrap(wrap(opener.public, message, info=b"i"), info=b"i") == message
        if number % 20 == 7:
            softhsm.restart(noticed=False)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(80)))


def test_a_secret_that_begins_with_zeros_keeps_its_size(tmp_path: Path) -> None:
    """The Diffie-Hellman value has 32 octets also when it is a small number."""
    from pkcs11 import Attribute, KeyType, ObjectClass

    private = p256.load_secret(octets("in the token"))
    point = next(
        (p256.point_of(other.public_key()), private.exchange(ec.ECDH(), other.public_key()))
        for other in (p256.load_secret(octets(f"outside {n}")) for n in range(10_000))
        if private.exchange(ec.ECDH(), other.public_key())[0] == 0
    )

    known = KeyName("known", b"known")

    def exchange(token: Connection) -> bytes:
        entered = token.session.create_object(
            {
                Attribute.CLASS: ObjectClass.PRIVATE_KEY,
                Attribute.KEY_TYPE: KeyType.EC,
                Attribute.EC_PARAMS: objects._P256,
                Attribute.VALUE: octets("in the token"),
                Attribute.ID: known.id,
                Attribute.DERIVE: True,
                Attribute.TOKEN: False,
            }
        )
        try:
            return objects.exchange(token, known, point[0])
        finally:
            entered.destroy()
            token.forget()

    assert make(tmp_path)._token.run(exchange, what="agree") == point[1]


def test_a_point_is_read_in_both_encodings(tmp_path: Path) -> None:
    """Tokens show a public key as it is or inside an OCTET STRING; anything else is refused."""
    point = make(tmp_path).records()[0].public.value
    assert objects._point(point) == objects._point(b"\x04\x41" + point) == point
    for bad in (
        b"",
        point[:-1],
        b"\x04\x41" + point[:-1],
        b"\x04" + bytes(64),
        b"\x03" + point[1:33],
    ):
        with pytest.raises(TokenError, match="P-256"):
            objects._point(bad)


def test_killed_at_any_step_of_a_change_nothing_is_lost(tmp_path: Path) -> None:
    """At every step the old keys work, and the next run leaves no key in the token behind."""
    first = make(tmp_path)
    steps = count_changes(lambda: first.prepare(created=LATER))
    assert len(objects_of(first)) == OBJECTS * 2
    assert steps > 2
    outcomes = set()
    for step in range(1, steps + 1):
        folder = tmp_path / str(step)
        folder.mkdir()
        store = make(folder)
        with pytest.raises(Killed), killed_at(step):
            store.prepare(created=LATER)
        again = reopen(folder)
        outcomes.add(pending_generation(again))
        assert again.prepare(created=LATER) == 1
        assert len(objects_of(again)) == OBJECTS * 2
        for signer in (*again.signers(0), *again.signers(1)):
            Verifier(signer.public).verify(signer.sign(b"m"), b"m", what="it")
    assert outcomes == {None, 1}


def test_a_key_that_was_removed_from_the_token_is_named(tmp_path: Path) -> None:
    """A key that somebody deleted is missing, and the error says where from."""
    store = make(tmp_path)
    name = store._record.identity_key(Purpose.SIGN, 0)
    from pkcs11 import ObjectClass

    store._token.run(
        lambda token: token.destroy((ObjectClass.PRIVATE_KEY,), name), what="remove a key"
    )
    with pytest.raises(
        KeyUnavailableError, match=f"'medshare' does not hold the key '{name.label}'"
    ):
        store.signers(0)[0].sign(b"message")


def test_an_existing_record_is_never_overwritten(tmp_path: Path) -> None:
    """Making a keystore where one is fails, and leaves the old one as it was."""
    store = make(tmp_path)
    before = (tmp_path / TOKEN_FILE).read_bytes()
    with pytest.raises(StorageError, match="it is kept"):
        make(tmp_path)
    assert (tmp_path / TOKEN_FILE).read_bytes() == before
    assert store.signers(0)[0].sign(b"message")


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"cut"])
def test_a_damaged_record_says_that_the_keys_are_safe(tmp_path: Path, content: bytes) -> None:
    """A record that is no record is a storage error with a way out."""
    make(tmp_path)
    (tmp_path / TOKEN_FILE).write_bytes(content)
    with pytest.raises(StorageError, match="damaged") as caught:
        softhsm.backend().open(tmp_path)
    assert "in the token" in (caught.value.hint or "")


def test_nothing_shows_the_pin(tmp_path: Path) -> None:
    """No representation of backend, store, keys or connection holds it."""
    store = make(tmp_path)
    shown = "".join(
        map(repr, (softhsm.backend(), store, store._token, *store.signers(0), *store.openers(0)))
    )
    assert softhsm.PIN.decode() not in shown
    assert repr(TokenBackend(None, b"314159")) == "TokenBackend()"

"""The contract that every keystore backend passes; a backend's tests inherit from it."""

from pathlib import Path

import pytest

from medshare.errors import IntegrityError, KeyUnavailableError, UsageError
from medshare.keys.base import KeyStore, Purpose, newest_generation, pending_generation
from medshare.suites.kem import wrap
from medshare.suites.signatures import Verifier

CREATED = 1_750_000_000
LATER = CREATED + 86_400
KEY, OTHER = bytes(range(32)), b"\xff" * 32


class KeyStoreSuite:
    """Subclasses say how to make a keystore with generation 0, and how to come back to it."""

    def make(self, folder: Path) -> KeyStore:
        """Return a new keystore whose keys were made at `CREATED`."""
        raise NotImplementedError

    def reopen(self, folder: Path) -> KeyStore:
        """Return the keystore made in *folder*, as another process would find it."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> KeyStore:
        """Give a new keystore."""
        return self.make(tmp_path)

    def test_a_new_keystore_has_one_settled_generation(self, store: KeyStore) -> None:
        """It holds generation 0 with at least one key for each purpose, and none pending."""
        records = store.records()
        assert {record.purpose for record in records} == set(Purpose)
        assert {(r.generation, r.created, r.pending) for r in records} == {(0, CREATED, False)}
        assert pending_generation(store) is None

    def test_records_show_the_keys_that_work(self, store: KeyStore) -> None:
        """Public keys in the records are those of the signers and openers, in their order."""
        shown = [record.public for record in store.records()]
        signing = [signer.public for signer in store.signers(0)]
        assert shown == [*signing, *(opener.public for opener in store.openers(0))]

    def test_a_signature_verifies_under_the_public_key(self, store: KeyStore) -> None:
        """What a signer signs, its public key verifies."""
        for signer in store.signers(0):
            Verifier(signer.public).verify(signer.sign(b"message"), b"message", what="test")

    def test_an_opener_opens_what_was_wrapped_to_it(self, store: KeyStore) -> None:
        """What is wrapped to a public key, its opener unwraps."""
        for opener in store.openers(0):
            wrapped = wrap(opener.public, b"secret", info=b"test")
            assert opener.unwrap(wrapped, info=b"test") == b"secret"

    def test_keys_survive_reopening(self, store: KeyStore, tmp_path: Path) -> None:
        """Another process finds the same keys, and they work."""
        again = self.reopen(tmp_path)
        assert again.records() == store.records()
        wrapped = wrap(store.openers(0)[0].public, b"secret", info=b"")
        assert again.openers(0)[0].unwrap(wrapped, info=b"") == b"secret"

    def test_a_prepared_generation_is_durable_and_pending(
        self, store: KeyStore, tmp_path: Path
    ) -> None:
        """After `prepare` another process finds the new generation, marked as pending."""
        assert store.prepare(created=LATER) == 1
        for found in (store, self.reopen(tmp_path)):
            assert pending_generation(found) == 1
            assert {r.created for r in found.records() if r.generation == 1} == {LATER}
        assert self.reopen(tmp_path).records() == store.records()

    def test_preparing_twice_makes_one_generation(self, store: KeyStore, tmp_path: Path) -> None:
        """While a generation is pending, `prepare` gives it back, in any process."""
        store.prepare(created=LATER)
        before = store.records()
        assert store.prepare(created=LATER + 1) == 1
        assert self.reopen(tmp_path).prepare(created=LATER + 2) == 1
        assert self.reopen(tmp_path).records() == before

    def test_a_settled_generation_is_no_longer_pending(
        self, store: KeyStore, tmp_path: Path
    ) -> None:
        """`settle` is durable, may be repeated, and changes no key."""
        store.prepare(created=LATER)
        keys = [record.public for record in store.records()]
        store.settle(1)
        store.settle(1)
        again = self.reopen(tmp_path)
        assert pending_generation(store) is pending_generation(again) is None
        assert [record.public for record in again.records()] == keys

    def test_each_generation_has_keys_of_its_own(self, store: KeyStore, tmp_path: Path) -> None:
        """No key comes twice, and the old generation stays as it was."""
        old = store.records()
        store.prepare(created=LATER)
        store.settle(1)
        assert store.prepare(created=LATER + 1) == 2
        store.settle(2)
        records = self.reopen(tmp_path).records()
        assert records[: len(old)] == old
        assert len({record.public for record in records}) == len(records) == 3 * len(old)
        assert newest_generation(store) == 2

    @pytest.mark.parametrize("number", [-1, 1, 255])
    def test_a_missing_generation_is_said_to_be_missing(self, store: KeyStore, number: int) -> None:
        """A generation that is not there raises KeyUnavailableError, whatever is asked of it."""
        for ask in (store.signers, store.openers, store.settle):
            with pytest.raises(KeyUnavailableError):
                ask(number)

    def test_a_kek_wraps_and_unwraps(self, store: KeyStore, tmp_path: Path) -> None:
        """A key comes back from its wrap, in any process, and the wrap is not the key."""
        assert store.keks() == ()
        store.make_kek("routine/0", created=CREATED)
        wrapped = store.wrap_key("routine/0", KEY)
        assert KEY not in wrapped
        for found in (store, self.reopen(tmp_path)):
            assert found.unwrap_key("routine/0", wrapped) == KEY
            assert [(kek.label, kek.created) for kek in found.keks()] == [("routine/0", CREATED)]
        assert store.unwrap_key("routine/0", store.wrap_key("routine/0", OTHER)) == OTHER

    def test_a_kek_is_made_once(self, store: KeyStore, tmp_path: Path) -> None:
        """Making a KEK that is there changes nothing, in any process."""
        store.make_kek("routine/0", created=CREATED)
        wrapped = store.wrap_key("routine/0", KEY)
        for found in (store, self.reopen(tmp_path)):
            found.make_kek("routine/0", created=LATER)
            assert found.unwrap_key("routine/0", wrapped) == KEY
            assert found.keks()[0].created == CREATED

    def test_keks_of_another_process_are_found(self, store: KeyStore, tmp_path: Path) -> None:
        """What a process makes or destroys meanwhile, one that opened before it takes in."""
        other = self.reopen(tmp_path)
        other.make_kek("routine/0", created=CREATED)
        wrapped = store.wrap_key("routine/0", KEY)
        store.make_kek("routine/1", created=LATER)
        assert [kek.label for kek in store.keks()] == ["routine/0", "routine/1"]
        assert other.unwrap_key("routine/1", store.wrap_key("routine/1", KEY)) == KEY
        other.destroy_kek("routine/1")
        assert self.reopen(tmp_path).unwrap_key("routine/0", wrapped) == KEY

    def test_each_kek_opens_its_own_wraps_only(self, store: KeyStore) -> None:
        """Another KEK, a changed octet, another length: IntegrityError each time."""
        for label in ("sensitive/0", "routine/0"):
            store.make_kek(label, created=CREATED)
        assert [kek.label for kek in store.keks()] == ["routine/0", "sensitive/0"]
        wrapped = store.wrap_key("routine/0", KEY)
        for bad in (b"", wrapped[:-1], wrapped + b"\0", wrapped[:-1] + bytes([wrapped[-1] ^ 1])):
            with pytest.raises(IntegrityError):
                store.unwrap_key("routine/0", bad)
        with pytest.raises(IntegrityError):
            store.unwrap_key("sensitive/0", wrapped)

    def test_a_destroyed_kek_opens_nothing(self, store: KeyStore, tmp_path: Path) -> None:
        """After `destroy_kek` no process unwraps, also when a KEK of that name is made again."""
        store.make_kek("routine/0", created=CREATED)
        store.make_kek("routine/1", created=CREATED)
        wrapped, kept = store.wrap_key("routine/0", KEY), store.wrap_key("routine/1", KEY)
        store.destroy_kek("routine/0")
        store.destroy_kek("routine/0")
        for found in (store, self.reopen(tmp_path)):
            with pytest.raises(KeyUnavailableError):
                found.unwrap_key("routine/0", wrapped)
            with pytest.raises(KeyUnavailableError):
                found.wrap_key("routine/0", KEY)
            assert found.unwrap_key("routine/1", kept) == KEY
        store.make_kek("routine/0", created=LATER)
        with pytest.raises(IntegrityError):
            store.unwrap_key("routine/0", wrapped)

    def test_keks_and_identity_keys_leave_each_other_alone(
        self, store: KeyStore, tmp_path: Path
    ) -> None:
        """A rotation of the identity keeps KEKs, and KEKs are no keys of a generation."""
        before = store.records()
        store.make_kek("routine/0", created=CREATED)
        wrapped = store.wrap_key("routine/0", KEY)
        assert store.records() == before
        store.settle(store.prepare(created=LATER))
        assert self.reopen(tmp_path).unwrap_key("routine/0", wrapped) == KEY

    @pytest.mark.parametrize("label", ["", "Routine", "a b", "../x", "x/", "a" * 65, "ä", "a\n"])
    def test_labels_are_plain(self, store: KeyStore, label: str) -> None:
        """A label that a file system, a log or a token could misread names no KEK."""
        with pytest.raises(UsageError):
            store.make_kek(label, created=CREATED)
        assert store.keks() == ()

    @pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
    def test_only_keys_of_32_octets_are_wrapped(self, store: KeyStore, size: int) -> None:
        """A key of another size is a mistake of the caller."""
        store.make_kek("routine/0", created=CREATED)
        with pytest.raises(ValueError, match="32 octets"):
            store.wrap_key("routine/0", bytes(size))

    def test_a_keystore_names_its_backend(self, store: KeyStore) -> None:
        """The backend's name is not empty: `keys list` shows it."""
        assert store.backend

    def test_the_representation_is_short(self, store: KeyStore) -> None:
        """What a log would show of a keystore has no room for a key."""
        assert len(repr(store)) < 64

"""The contract that every keystore backend passes; a backend's tests inherit from it."""

from pathlib import Path

import pytest

from medshare.errors import KeyUnavailableError
from medshare.keys.base import KeyStore, Purpose, newest_generation, pending_generation
from medshare.suites.kem import wrap
from medshare.suites.signatures import Verifier

CREATED = 1_750_000_000
LATER = CREATED + 86_400


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

    def test_a_keystore_names_its_backend(self, store: KeyStore) -> None:
        """The backend's name is not empty: `keys list` shows it."""
        assert store.backend

    def test_the_representation_is_short(self, store: KeyStore) -> None:
        """What a log would show of a keystore has no room for a key."""
        assert len(repr(store)) < 64

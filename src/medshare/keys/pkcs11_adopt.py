"""Finding the keys of a station in its token again, when all else of it was lost.

What is needed is the token, its PIN, and the card, which others have.  Which keys belong to the
card is proved by using them: each generation's signature key signs, and the card verifies.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from medshare.disk.atomic import write_file
from medshare.errors import KeyUnavailableError, SignatureError, TokenError, UsageError
from medshare.keys.base import Purpose
from medshare.keys.kek import AES_KW, MAX_KEKS, check_label
from medshare.keys.pkcs11 import TOKEN_FILE, TokenBackend, TokenKeyStore, TokenSigner
from medshare.keys.pkcs11_record import (
    Keys,
    TokenGeneration,
    TokenKek,
    TokenRecord,
    identity_key,
    kek_of,
    store_of,
)
from medshare.keys.pkcs11_session import Connection
from medshare.suites import dhkem_p256, ecdsa_p256
from medshare.suites.signatures import Verifier
from medshare.trust.card import Card, Generation

_PROBE: Final = b"medshare keys adopt\x00"


def adopt(backend: TokenBackend, card: Card, folder: Path) -> TokenKeyStore:
    """Make the record of the keys of *card* in *folder* anew, from the token of *backend*.

    KEKs that are found get the time of the newest keys, as a token does not know theirs.
    Raises KeyUnavailableError when the token does not hold the keys of *card*, all
    generations of them, and what opening a token raises.
    """
    token = backend.connected()
    generations = tuple(_keys_of(one) for one in card.generations)
    labels = token.run(lambda token: token.labels(), what="list its keys")
    stores = {found for label in labels if (found := store_of(label)) is not None}
    store = _store_for(token, card, sorted(stores))
    keks = sorted(_keks(store, labels))[:MAX_KEKS]
    record = TokenRecord(
        store,
        token.uri,
        tuple(
            TokenGeneration(one.created, pending=False, keys=keys)
            for one, keys in zip(card.generations, generations, strict=True)
        ),
        tuple(TokenKek(label, AES_KW, card.current.created) for label in keks),
    )
    write_file(folder / TOKEN_FILE, record.encode(), what="the record of keys in a token")
    return TokenKeyStore(folder / TOKEN_FILE, record, token)


def _keys_of(generation: Generation) -> Keys:
    names = [key.algorithm for key in (*generation.sign_keys, *generation.kem_keys)]
    if names != [ecdsa_p256.NAME, dhkem_p256.NAME]:
        raise UsageError("the keys of this card are not of the kind that a token holds")
    return (
        (Purpose.SIGN, generation.sign_keys[0]),
        (Purpose.OPEN, generation.kem_keys[0]),
    )


def _store_for(token: Connection, card: Card, stores: Iterable[bytes]) -> bytes:
    """Return the one of *stores* whose keys sign as *card* says, in every generation."""
    for store in stores:
        if all(_signs_for(token, store, one) for one in card.generations):
            return store
    raise KeyUnavailableError(
        f"the token '{token.label}' does not hold the keys of this card",
        hint="use the token in which the station was made, or its backup, and the newest card",
    )


def _signs_for(token: Connection, store: bytes, generation: Generation) -> bool:
    name = identity_key(store, Purpose.SIGN, generation.number)
    signer = TokenSigner(generation.sign_keys[0], token, name)
    try:
        Verifier(signer.public).verify(signer.sign(_PROBE), _PROBE, what="a probe")
    except (KeyUnavailableError, SignatureError) as error:
        if isinstance(error, TokenError):
            raise
        return False
    return True


def _keks(store: bytes, labels: Iterable[str]) -> Iterable[str]:
    for label in labels:
        kek = kek_of(label)
        if kek is not None and store_of(label) == store:
            try:
                yield check_label(kek)
            except UsageError:  # somebody else's, under a name like ours
                continue

"""The secret half of a station, unlocked: what signs for it and opens what is sent to it."""

from dataclasses import dataclass

from medshare.errors import KeyUnavailableError
from medshare.ids import StationId
from medshare.keys.base import KeyStore
from medshare.station.tier_keys import TierKeys
from medshare.suites.base import Opener, Signer
from medshare.suites.signatures import request_key
from medshare.trust.card import Card


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """The keys of one station, ready for use; its representation shows none of them."""

    station: StationId
    card: Card
    signers: tuple[Signer, ...]
    """Keys of the card's current generation, in the order of its `sign_keys`."""
    openers: tuple[Opener, ...]
    """Keys of every generation to which others may have wrapped, newest first."""
    request_signer: Signer
    """The key that signs requests to relays."""
    backend: str = "file"
    """In which kind of keystore its keys are."""
    tiers: TierKeys | None = None
    """The KEKs under which the keys of parcels at hand are wrapped, where there are any."""

    def __repr__(self) -> str:
        return f"Identity({self.station.hex()[:10]}, generation {self.card.current.number})"


def identity_of(card: Card, store: KeyStore, tiers: TierKeys | None = None) -> Identity:
    """Return the identity that *card* shows and whose keys *store* holds, with its *tiers*.

    The card decides which generation is in use: a rotation that was interrupted before
    the card was changed has not happened yet.  Raises KeyUnavailableError when *store*
    does not hold the keys of the card.
    """
    number = card.current.number
    signers = store.signers(number)
    openers = tuple(one for each in range(number, -1, -1) for one in store.openers(each))
    newest = store.openers(number)
    _require_keys_of(card, signers, newest)
    wanted = request_key(card.current.sign_keys)
    request_signer = next((one for one in signers if one.public == wanted), None)
    if request_signer is None:
        raise KeyUnavailableError("the keystore holds no key to sign requests with")
    return Identity(card.station, card, signers, openers, request_signer, store.backend, tiers)


def _require_keys_of(card: Card, signers: tuple[Signer, ...], openers: tuple[Opener, ...]) -> None:
    held = tuple(one.public for one in signers), tuple(one.public for one in openers)
    if held != (card.current.sign_keys, card.current.kem_keys):
        raise KeyUnavailableError(
            "the keystore does not hold the keys that the card of this station shows",
            hint="restore keystore and card from the same backup",
        )

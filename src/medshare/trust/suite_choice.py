"""Which suite a parcel is sealed in, and which a reader takes: rules over cards, without I/O.

The suite follows the keys of all concerned.  It is mixed with keys of another family only
where that was allowed in so many words, by whoever seals and by whoever reads.
"""

from collections.abc import Sequence
from typing import Final

from medshare.envelope import Envelope
from medshare.errors import PolicyError
from medshare.suites import SUITE_NAMES
from medshare.suites.base import PublicKey
from medshare.suites.kem import KEMS
from medshare.suites.signatures import SIGNATURES
from medshare.trust.card import Card

ALL_SUITES: Final = frozenset(SUITE_NAMES)


def suites_of(card: Card) -> tuple[str, ...]:
    """Return the suites of which *card* has, now, keys to sign with and keys to seal to."""
    signs = {SIGNATURES[key.algorithm].family for key in card.current.sign_keys}
    opens = {KEMS[key.algorithm].family for key in card.current.kem_keys}
    return tuple(name for name in SUITE_NAMES if name in signs & opens)


def choose_suite(
    sender: Card, recipients: Sequence[Card], allowed: frozenset[str], *, mixed: bool
) -> str:
    """Return the suite in which *sender* seals to *recipients*, one of *allowed*.

    It is one of which all have keys, the one of the sender's card before others.  Where
    there is none, *mixed* permits one of which some have no keys: the content is sealed in
    it, and the key wrapped to such keys as each has.  Raises PolicyError otherwise.
    """
    everybody = [sender, *recipients]
    ordered = sorted(SUITE_NAMES, key=lambda name: name != sender.current.suite)
    permitted = [name for name in ordered if name in allowed]
    for name in permitted:
        if all(name in suites_of(card) for card in everybody):
            return name
    if mixed and permitted:
        return permitted[0]
    have = ", ".join(f"'{card.name}' has {' and '.join(suites_of(card))}" for card in everybody)
    wanted = " and ".join(sorted(permitted)) or "none that is known here"
    raise PolicyError(
        f"no suite that is allowed serves all (allowed: {wanted}): {have}",
        hint="send to them apart, or allow what mixes the families: medshare send --suite NAME",
    )


def keys_to_seal_to(card: Card, suite: str) -> tuple[PublicKey, ...]:
    """Return the keys of *card* for a parcel in *suite*: those of its family, or else all."""
    keys = card.current.kem_keys
    return tuple(key for key in keys if KEMS[key.algorithm].family == suite) or keys


def require_acceptable(
    envelope: Envelope, reader: Card, allowed: frozenset[str] | None = None, *, mixed: bool = False
) -> None:
    """Raise PolicyError unless *reader* takes parcels like this one.

    Its suite is one of *allowed* (when None: of those of which the reader's card has keys).
    Unless *mixed*, the sender also signs, and the key is wrapped to the reader, with keys of
    that suite: whoever demands a suite does not get half of it.
    """
    suite = envelope.suite
    if suite not in (frozenset(suites_of(reader)) if allowed is None else allowed):
        raise PolicyError(
            f"the parcel is sealed in suite '{suite}', which this station does not take",
            hint=f"ask for another suite, or allow this one: medshare receive --suite {suite}",
        )
    signs = {SIGNATURES[key.algorithm].family for key in envelope.sender_keys}
    opens = [KEMS.get(stanza.algorithm) for stanza in envelope.stanzas_for(reader.station)]
    wraps = {scheme.family for scheme in opens if scheme is not None}
    if not mixed and (suite not in signs or (wraps and suite not in wraps)):
        raise PolicyError(
            f"the parcel is sealed in suite '{suite}', but signed or wrapped with other keys",
            hint=f"ask for a parcel in one suite, or allow it: medshare receive --suite {suite}",
        )

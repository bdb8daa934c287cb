"""Cards of stations whose keys were rotated."""

from dataclasses import replace

from medshare.suites.kem import HYBRID, HYBRID_SEED_SIZE, opener_from_seed
from medshare.suites.signatures import ED25519, ML_DSA_65, signer_from_seed
from medshare.trust.card import Card, issue
from tests.builder import make_signers, octets


def rotated(card: Card, name: str, label: str = "second") -> Card:
    """Return *card* of the station called *name* with one more generation."""
    signers = (
        signer_from_seed(ED25519, octets(f"{name} {label} ed25519")),
        signer_from_seed(ML_DSA_65, octets(f"{name} {label} ml-dsa-65")),
    )
    opener = opener_from_seed(HYBRID, octets(f"{name} {label} kem", HYBRID_SEED_SIZE))
    generation = replace(
        card.current,
        number=1,
        sign_keys=tuple(one.public for one in signers),
        kem_keys=(opener.public,),
    )
    return issue(generation, signers, before=card, old=make_signers(name))

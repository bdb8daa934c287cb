"""Requests for a certificate: PKCS#10 (RFC 2986), with the card of the station beside it.

A request is signed by the station's key, and asks for the two names that bind the certificate to
the card.  The card follows in the same file: openssl and other authorities' software read the
first block and leave it alone.
"""

from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from medshare.authority.signing import certificate_signer, sign_request
from medshare.errors import CredentialError, FormatError
from medshare.station import Identity
from medshare.suites.base import PublicKey
from medshare.trust.bundle import CARD, REQUEST, Block, read_blocks, write_blocks
from medshare.trust.card import Card, parse_card
from medshare.trust.credential import certificate_key, public_key_of, urns_of
from medshare.trust.foreign import x509_errors

MAX_COMMON_NAME: Final = 64
"""Characters of a common name (RFC 5280, ub-common-name)."""
_WHAT: Final = "the request"


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose signature was verified, and the card for which it asks."""

    card: Card
    key: PublicKey


def make_request(identity: Identity) -> bytes:
    """Return the text file with the request of a station, and its card.

    Raises CredentialError when its keys are of kinds that no certificate can carry.
    """
    card = identity.card
    names = [x509.UniformResourceIdentifier(urn) for urn in urns_of(card)]
    builder = x509.CertificateSigningRequestBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, card.name[:MAX_COMMON_NAME])])
    ).add_extension(x509.SubjectAlternativeName(names), critical=False)
    request = sign_request(builder, certificate_signer(identity.signers))
    der = request.public_bytes(Encoding.DER)
    return write_blocks([Block(REQUEST, der), Block(CARD, card.encoded)])


def read_request(data: bytes) -> Request:
    """Return the request in a text file.

    Raises FormatError when it is malformed, CredentialError when it is not signed by the key
    that it names, or that key, or the card, is of another station.
    """
    blocks = {block.label: block.content for block in read_blocks(data, what=_WHAT)}
    if REQUEST not in blocks or CARD not in blocks:
        raise FormatError(f"{_WHAT} is not one that medshare card request makes")
    card = parse_card(blocks[CARD])
    with x509_errors(_WHAT):
        request = x509.load_der_x509_csr(blocks[REQUEST])
        signed = request.is_signature_valid
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if not signed:
        raise CredentialError(
            f"{_WHAT} was changed: its signature does not verify", code="credential.signature"
        )
    key = public_key_of(request)
    if key != certificate_key(card):
        raise CredentialError(
            f"{_WHAT} is signed by another key than that of the card", code="credential.key"
        )
    if sorted(uris) != sorted(urns_of(card)):
        raise CredentialError(
            f"{_WHAT} asks for other names than those of the card", code="credential.card"
        )
    return Request(card, key)

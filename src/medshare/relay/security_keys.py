"""FIDO2 at the relay: what a security key says, believed only after Web Authentication §7.

The relay is the relying party: its name (without the port) is the RP id, its address the origin,
and both are those of the request, which are names that the relay knows itself by.  What a key
signed for another relay, or for another challenge, is refused.  The checks are those of the
library `fido2`; the ones that it leaves to its user are here.  Attestation is not asked for:
which make a key is does not matter here, and telling would let keys be recognised.
"""

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from medshare.errors import AccessDeniedError
from medshare.relay.codes import needs_extra
from medshare.wire import problems
from medshare.wire.sign_in import Proof, rp_id

if TYPE_CHECKING:
    from fido2.server import Fido2Server

NAME: Final = "medshare relay"
ALGORITHMS: Final = (-8, -7)
"""EdDSA and ES256 (RFC 9053), of which every security key has one."""
_MALFORMED: Final = (
    ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, struct.error,
)  # fmt: skip
"""What the library raises for octets that make no sense; ValueError also for a check that fails."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What an answer of a security key must fit."""

    challenge: bytes
    origin: str
    verify: bool
    """Whether the key must have verified who touched it."""


def new_credential(proof: Proof, demand: Demand) -> tuple[bytes, int]:
    """Return the public credential of a new key, and its counter (Web Authentication §7.1).

    Raises AccessDeniedError when it is not an answer to *demand*.
    """
    server = _server(demand.origin)
    from fido2.webauthn import (
        AttestationObject,
        AuthenticatorAttestationResponse,
        CollectedClientData,
        RegistrationResponse,
    )

    try:
        client_data = CollectedClientData(proof.client_data)
        attestation = AttestationObject(proof.data)
        found = attestation.auth_data.credential_data
        if client_data.cross_origin or found is None:
            raise ValueError("not made here")
        response = AuthenticatorAttestationResponse(
            client_data=client_data, attestation_object=attestation
        )
        data = server.register_complete(
            _state(demand), RegistrationResponse(raw_id=found.credential_id, response=response)
        )
        if found.credential_id != proof.credential or found.public_key[3] not in ALGORITHMS:
            raise ValueError("another credential, or a key of a kind that is not used")
    except _MALFORMED as error:
        raise _refused() from error
    return bytes(found), data.counter


def next_counter(proof: Proof, demand: Demand, credential: bytes, *, counter: int) -> int:
    """Return the signature counter that *proof* shows (Web Authentication §7.2).

    Raises AccessDeniedError when it is not an answer to *demand* by *credential*, or when its
    counter did not grow: then there are two of the key.
    """
    server = _server(demand.origin)
    from fido2.webauthn import (
        AttestedCredentialData,
        AuthenticationResponse,
        AuthenticatorAssertionResponse,
        AuthenticatorData,
        CollectedClientData,
    )

    known = AttestedCredentialData(credential)
    try:
        client_data = CollectedClientData(proof.client_data)
        data = AuthenticatorData(proof.data)
        if client_data.cross_origin:
            raise ValueError("not made here")
        response = AuthenticatorAssertionResponse(
            client_data=client_data, authenticator_data=data, signature=proof.signature
        )
        server.authenticate_complete(
            _state(demand),
            [known],
            AuthenticationResponse(raw_id=proof.credential, response=response),
        )
    except _MALFORMED as error:
        raise _refused() from error
    if (data.counter or counter) and data.counter <= counter:
        raise _refused()
    return data.counter


def credential_id(credential: bytes) -> bytes:
    """Return the id of a public credential that `new_credential` returned."""
    from fido2.webauthn import AttestedCredentialData

    return bytes(AttestedCredentialData(credential).credential_id)


def _server(origin: str) -> "Fido2Server":
    try:
        from fido2.server import Fido2Server
        from fido2.webauthn import PublicKeyCredentialRpEntity
    except ImportError as error:
        raise needs_extra() from error
    party = PublicKeyCredentialRpEntity(id=rp_id(origin), name=NAME)
    return Fido2Server(party, verify_origin=lambda claimed: claimed == origin)


def _state(demand: Demand) -> dict[str, object]:
    from fido2.utils import websafe_encode
    from fido2.webauthn import UserVerificationRequirement

    verification = UserVerificationRequirement.REQUIRED if demand.verify else None
    return {"challenge": websafe_encode(demand.challenge), "user_verification": verification}


def _refused() -> AccessDeniedError:
    return AccessDeniedError("the second factor does not verify", code=problems.FACTOR)

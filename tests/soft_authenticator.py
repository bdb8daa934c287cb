"""A security key in software: CTAP 2 as the client of the library `fido2` speaks it.

What it cannot be made to do, real keys do not: it signs for the RP id that it is told, with the
flags and the counter that it has.  Tests turn its switches to make it a bad one.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.cose import ES256
from fido2.ctap import STATUS, CtapDevice, CtapError
from fido2.ctap2.base import Ctap2
from fido2.ctap2.pin import PinProtocolV2
from fido2.hid import CAPABILITY, CTAPHID
from fido2.webauthn import AttestedCredentialData, AuthenticatorData

AAGUID = bytes(16)
FLAG = AuthenticatorData.FLAG


@dataclass
class Credential:
    """One credential of the key."""

    rp: str
    key: ec.EllipticCurvePrivateKey
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    """Of the extension hmac-secret."""


@dataclass
class SoftAuthenticator(CtapDevice):
    """A key that is plugged in, and touched at once."""

    verifies: bool = True
    """Whether it verifies who touches it."""
    counter: int = 0
    counts: bool = True
    has_secrets: bool = True
    present: bool = True
    credentials: dict[bytes, Credential] = field(default_factory=dict)
    agreement: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def capabilities(self) -> int:
        """CBOR, and nothing of before."""
        return int(CAPABILITY.CBOR | CAPABILITY.NMSG)

    @classmethod
    def list_devices(cls) -> Iterator[CtapDevice]:
        """None: tests hand a key over themselves."""
        return iter(())

    def close(self) -> None:
        """Nothing is open."""

    def call(
        self,
        cmd: int,
        data: bytes = b"",
        event: Event | None = None,
        on_keepalive: Callable[[STATUS], None] | None = None,
    ) -> bytes:
        """Answer one command."""
        assert cmd == CTAPHID.CBOR
        request: Any = cbor.decode(data[1:]) if len(data) > 1 else {}
        doing: dict[Ctap2.CMD, Callable[[Any], dict[int, Any]]] = {
            Ctap2.CMD.GET_INFO: self._info,
            Ctap2.CMD.MAKE_CREDENTIAL: self._make,
            Ctap2.CMD.GET_ASSERTION: self._assert,
            Ctap2.CMD.CLIENT_PIN: self._agree,
        }
        if on_keepalive is not None and data[0] in {
            Ctap2.CMD.MAKE_CREDENTIAL,
            Ctap2.CMD.GET_ASSERTION,
        }:
            on_keepalive(STATUS.UPNEEDED)
        try:
            answer = doing[Ctap2.CMD(data[0])](request)
        except CtapError as error:
            return bytes([error.code])
        return b"\x00" + cbor.encode(answer)

    def _info(self, request: Mapping[int, Any]) -> dict[int, Any]:
        return {
            1: ["FIDO_2_0"],
            2: ["hmac-secret"] if self.has_secrets else [],
            3: AAGUID,
            4: {"rk": False, "up": True, **({"uv": True} if self.verifies else {})},
            6: [PinProtocolV2.VERSION],
        }

    def _make(self, request: Mapping[int, Any]) -> dict[int, Any]:
        rp = request[2]["id"]
        if any(one["id"] in self.credentials for one in request.get(5, [])):
            raise CtapError(CtapError.ERR.CREDENTIAL_EXCLUDED)
        credential = Credential(rp, ec.generate_private_key(ec.SECP256R1()))
        name = secrets.token_bytes(32)
        self.credentials[name] = credential
        make: Any = ES256.from_cryptography_key  # the library leaves it untyped
        public = make(credential.key.public_key())
        attested = AttestedCredentialData.create(AAGUID, name, public)
        extensions = {"hmac-secret": True} if "hmac-secret" in request.get(6, {}) else None
        data = self._data(rp, request.get(7, {}), attested, extensions)
        return {1: "none", 2: data, 3: {}}

    def _assert(self, request: Mapping[int, Any]) -> dict[int, Any]:
        rp, options = request[1], request.get(5, {})
        names = [
            one["id"]
            for one in request.get(3, [])
            if one["id"] in self.credentials and self.credentials[one["id"]].rp == rp
        ]
        if not names:
            raise CtapError(CtapError.ERR.NO_CREDENTIALS)
        credential = self.credentials[names[0]]
        asked = request.get(4, {}).get("hmac-secret")
        extensions = None if asked is None else {"hmac-secret": self._secret(credential, asked)}
        data = self._data(rp, options, None, extensions)
        signature = credential.key.sign(data + request[2], ec.ECDSA(hashes.SHA256()))
        return {1: {"type": "public-key", "id": names[0]}, 2: data, 3: signature}

    def _data(
        self,
        rp: str,
        options: Mapping[str, bool],
        attested: AttestedCredentialData | None,
        extensions: dict[str, Any] | None,
    ) -> AuthenticatorData:
        flags = FLAG.UP if self.present and options.get("up", True) else FLAG(0)
        if options.get("uv") and self.verifies:
            flags |= FLAG.UV
        flags |= FLAG.AT if attested else FLAG(0)
        flags |= FLAG.ED if extensions else FLAG(0)
        if options.get("up", True) and self.counts:
            self.counter += 1
        made: AuthenticatorData = AuthenticatorData.create(
            hashlib.sha256(rp.encode()).digest(),
            flags,
            self.counter,
            attested or b"",
            extensions,
        )
        return made

    def _agree(self, request: Mapping[int, Any]) -> dict[int, Any]:
        numbers = self.agreement.public_key().public_numbers()
        x, y = numbers.x.to_bytes(32), numbers.y.to_bytes(32)
        return {1: {1: 2, 3: -25, -1: 1, -2: x, -3: y}}

    def _secret(self, credential: Credential, asked: Mapping[int, Any]) -> bytes:
        theirs = asked[1]
        protocol: Any = PinProtocolV2()  # the library leaves it untyped
        numbers = ec.EllipticCurvePublicNumbers(
            int.from_bytes(theirs[-2]), int.from_bytes(theirs[-3]), ec.SECP256R1()
        )
        shared = protocol.kdf(self.agreement.exchange(ec.ECDH(), numbers.public_key()))
        assert protocol.authenticate(shared, asked[2]) == asked[3]
        salts = protocol.decrypt(shared, asked[2])
        values = [
            hmac.digest(credential.secret, salts[at : at + 32], "sha256")
            for at in range(0, len(salts), 32)
        ]
        return bytes(protocol.encrypt(shared, b"".join(values)))

"""A FIDO2 security key in the USB port: credentials, assertions, and a secret for a salt.

The library `fido2` speaks CTAP 2 with it over HID.  What is asked of the key is bound to an
origin and its RP id; a key refuses what was made for another one.  The secret is that of the
extension `prf` (hmac-secret): 32 octets that only this key can compute, and only when somebody
touches it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from medshare.errors import CancelledError, KeyUnavailableError, UsageError
from medshare.keys.passphrase import Ask
from medshare.wire.sign_in import FIDO2, BegunFactor, Challenge, Proof, rp_id

if TYPE_CHECKING:
    from fido2.client import Fido2Client
    from fido2.ctap import CtapDevice

PIN_PROMPT: Final = "PIN of the security key: "
NAME: Final = "medshare"
"""What the key is told of relay and user: nothing that names anybody."""
_ALGORITHMS: Final = (-8, -7)
_PATIENCE: Final = 60_000
"""Milliseconds for somebody to touch the key."""
SECRET_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class SecurityKey:
    """One key that is plugged in; *ask* asks for its PIN, *say* tells to touch it."""

    device: "CtapDevice"
    ask: Ask | None
    say: Callable[[str], None]

    def new_factor(self, begun: BegunFactor, *, user: bytes, origin: str) -> Proof:
        """Make a credential for the relay at *origin*; return the proof that it works.

        Raises KeyUnavailableError when the key cannot, CancelledError when nobody touches it.
        """
        response = self._make(
            origin, begun.challenge, user=user, known=begun.known, verify=begun.verify, prf=False
        )
        return Proof(
            FIDO2,
            credential=response.raw_id,
            client_data=bytes(response.response.client_data),
            data=bytes(response.response.attestation_object),
        )

    def answer(self, challenge: Challenge, *, origin: str) -> Proof:
        """Sign *challenge* of the relay at *origin*; raises as `new_factor`."""
        response = self._assert(
            origin, challenge.challenge, challenge.credentials, verify=challenge.verify
        )
        return Proof(
            FIDO2,
            credential=response.raw_id,
            client_data=bytes(response.response.client_data),
            data=bytes(response.response.authenticator_data),
            signature=response.response.signature,
        )

    def new_secret(self, origin: str, *, user: bytes, challenge: bytes) -> bytes:
        """Make a credential that answers salts with secrets; return its id."""
        response = self._make(origin, challenge, user=user, known=(), verify=True, prf=True)
        if not dict(response.client_extension_results.get("prf") or {}).get("enabled"):
            raise KeyUnavailableError(
                "this security key has no secrets to give (hmac-secret), only signatures",
                hint="most keys with FIDO2 do; those of FIDO U2F do not",
            )
        return bytes(response.raw_id)

    def secret(
        self, origin: str, salts: Mapping[bytes, bytes], *, challenge: bytes
    ) -> tuple[bytes, bytes]:
        """Return which of the credentials in *salts* this key has, and its secret for the salt.

        Raises as `new_factor`.
        """
        response = self._assert(origin, challenge, tuple(salts), verify=True, salts=salts)
        results = dict(response.client_extension_results.get("prf") or {}).get("results") or {}
        value = dict(results).get("first")
        if isinstance(value, str):
            from fido2.utils import websafe_decode

            value = websafe_decode(value)
        if not isinstance(value, bytes) or len(value) != SECRET_SIZE:
            raise KeyUnavailableError("the security key gave no secret")
        return bytes(response.raw_id), value

    def _make(
        self,
        origin: str,
        challenge: bytes,
        *,
        user: bytes,
        known: Sequence[bytes],
        verify: bool,
        prf: bool,
    ) -> Any:
        options = {
            "rp": {"id": rp_id(origin), "name": NAME},
            "user": {"id": user, "name": NAME, "displayName": NAME},
            "challenge": challenge,
            "pubKeyCredParams": [{"type": "public-key", "alg": one} for one in _ALGORITHMS],
            "excludeCredentials": [{"type": "public-key", "id": one} for one in known],
            "authenticatorSelection": {
                "residentKey": "discouraged",
                "userVerification": _verification(verify=verify),
            },
            "attestation": "none",
            "timeout": _PATIENCE,
            "extensions": {"prf": {}} if prf else {},
        }
        with _failures():
            return self._client(origin).make_credential(_creation(options))

    def _assert(
        self,
        origin: str,
        challenge: bytes,
        credentials: Sequence[bytes],
        *,
        verify: bool,
        salts: Mapping[bytes, bytes] | None = None,
    ) -> Any:
        options = {
            "challenge": challenge,
            "rpId": rp_id(origin),
            "allowCredentials": [{"type": "public-key", "id": one} for one in credentials],
            "userVerification": _verification(verify=verify),
            "timeout": _PATIENCE,
            "extensions": {} if salts is None else {"prf": {"evalByCredential": _firsts(salts)}},
        }
        with _failures():
            return self._client(origin).get_assertion(_request(options)).get_response(0)

    def _client(self, origin: str) -> "Fido2Client":
        from fido2.client import DefaultClientDataCollector, Fido2Client, UserInteraction

        ask, say = self.ask, self.say

        class Interaction(UserInteraction):
            """Lets the person at the terminal touch the key and type its PIN."""

            def prompt_up(self) -> None:
                say("touch the security key now")

            def request_pin(self, permissions: Any, rp_id: str | None) -> str | None:  # noqa: ARG002
                return None if ask is None else ask(PIN_PROMPT)

        collector = DefaultClientDataCollector(origin)
        return Fido2Client(self.device, collector, user_interaction=Interaction())


def _creation(options: dict[str, Any]) -> Any:
    from fido2.webauthn import PublicKeyCredentialCreationOptions

    return PublicKeyCredentialCreationOptions.from_dict(_webauthn(options))


def _request(options: dict[str, Any]) -> Any:
    from fido2.webauthn import PublicKeyCredentialRequestOptions

    return PublicKeyCredentialRequestOptions.from_dict(_webauthn(options))


def _webauthn(value: Any) -> Any:
    """Return *value* with octets as the JSON of Web Authentication writes them."""
    from fido2.utils import websafe_encode

    match value:
        case bytes():
            return websafe_encode(value)
        case dict():
            return {name: _webauthn(one) for name, one in value.items()}
        case list():
            return [_webauthn(one) for one in value]
    return value


def _firsts(salts: Mapping[bytes, bytes]) -> dict[str, Any]:
    from fido2.utils import websafe_encode

    return {websafe_encode(credential): {"first": salt} for credential, salt in salts.items()}


def _verification(*, verify: bool) -> str:
    return "required" if verify else "discouraged"


@contextmanager
def one_security_key(ask: Ask | None, say: Callable[[str], None]) -> Iterator[SecurityKey]:
    """Give the one security key that is plugged in.

    Raises UsageError, which names the extra, when the library is missing, and
    KeyUnavailableError when there is no key, or more than one.
    """
    try:
        from fido2.hid import CtapHidDevice
    except ImportError as error:
        raise UsageError(
            "security keys need packages that are not installed",
            hint="install them with: pip install 'medshare[signin]'",
        ) from error
    try:
        devices = list(CtapHidDevice.list_devices())
    except OSError as error:
        raise KeyUnavailableError("security keys cannot be looked for on this machine") from error
    if len(devices) != 1:
        found = "several security keys are" if devices else "no security key is"
        raise KeyUnavailableError(
            f"{found} plugged in, or this user may not use them",
            hint="plug in exactly one; on Linux, udev lets users use them (libfido2, systemd)",
        )
    try:
        yield SecurityKey(devices[0], ask, say)
    finally:
        devices[0].close()


@contextmanager
def _failures() -> Iterator[None]:
    """Say in our words why a key did not do it."""
    from fido2.client import ClientError
    from fido2.ctap import CtapError

    try:
        yield
    except ClientError as error:
        match error.code:
            case ClientError.ERR.TIMEOUT:
                raise CancelledError("nobody touched the security key in time") from error
            case ClientError.ERR.DEVICE_INELIGIBLE:
                raise KeyUnavailableError(
                    "this security key is not the one, or it is enrolled already"
                ) from error
            case ClientError.ERR.CONFIGURATION_UNSUPPORTED:
                raise KeyUnavailableError(
                    "this security key cannot do what is asked of it",
                    hint="set a PIN for it: it must verify who touches it",
                ) from error
        raise KeyUnavailableError(
            f"the security key refused ({error.code.name.lower()})", hint="check its PIN"
        ) from error
    except (CtapError, OSError) as error:
        raise KeyUnavailableError(f"the security key failed ({type(error).__name__})") from error

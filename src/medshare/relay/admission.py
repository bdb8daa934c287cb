"""Who asks: the signature of a request, checked before anything else of it is looked at."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Final

from medshare import httpsig
from medshare.errors import AccessDeniedError, FormatError, RelayRefusedError, SignatureError
from medshare.httpsig import Body, NonceMemory, SignatureInput
from medshare.relay.enrolment import Enrolled, Stations, enrolled
from medshare.relay.guard import Scope
from medshare.trust.card import Card
from medshare.wire import problems

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Names:
    """The names of the relay: *exact* as in a Host field, *hosts* with the port it listens on."""

    def __init__(self, exact: Collection[str], hosts: Collection[str]) -> None:
        self._exact = frozenset(name.lower() for name in exact)
        self._hosts = frozenset(host.lower() for host in hosts)

    def authority(self, host: str, *, scheme: str, port: int) -> str:
        """Return the `@authority` of a request with this Host field (RFC 9421 §2.2.3).

        Raises RelayRefusedError when it was made for another server.
        """
        authority = host.lower().removesuffix(f":{_DEFAULT_PORTS[scheme]}")
        if authority in self._exact:
            return authority
        suffix = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
        bare = authority.removesuffix(suffix)
        wildcard = f"*.{bare.partition('.')[2]}"  # as certificates have it: one label
        if authority.endswith(suffix) and not {bare, wildcard}.isdisjoint(self._hosts):
            return authority
        raise RelayRefusedError(
            "the request names another server than this relay", code=problems.MISDIRECTED
        )


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that may be answered; nothing of its body was read yet."""

    asker: Enrolled
    signature: SignatureInput
    request: httpsig.Request

    @property
    def nonce(self) -> str:
        """What makes the request another than those before."""
        return self.signature.nonce

    @property
    def created(self) -> int:
        """When it was signed, in seconds since 1970 UTC."""
        return self.signature.created

    @property
    def body(self) -> Body | None:
        """What it says of its body."""
        return self.request.body

    @property
    def origin(self) -> str:
        """What security keys know the relay by; TLS may end before the relay, and is not asked."""
        return f"https://{self.request.authority}"


class Admission:
    """Lets through who is enrolled, whom the signature proves, and what was not seen before."""

    def __init__(self, stations: Stations, names: Names, *, max_skew: int) -> None:
        self._stations = stations
        self._names = names
        self._memory = NonceMemory(max_skew=max_skew)

    def admit(self, scope: Scope, *, now: int, newer: Card | None = None) -> Admitted:
        """Return who sent the request, and what it says of its body.

        With *newer*, a card that continues the enrolled one, the signature is that of its
        newest key.  Raises AccessDeniedError, RelayRefusedError or FormatError.
        """
        signature = claim(scope)
        request = self._request(scope)
        asker = None if newer is None else enrolled(newer)

        def verifier_for(key_id: str) -> httpsig.Verifier | None:
            nonlocal asker
            asker = asker or self._stations.find(key_id)
            return None if asker is None else partial(_is_signed_by, asker, signature.algorithm)

        try:
            httpsig.verify_request(
                request, signature, now=now, memory=self._memory, verifier_for=verifier_for
            )
        except AccessDeniedError as error:
            raise AccessDeniedError(error.message, code=problems.SIGNATURE) from None
        if asker is None:
            raise AccessDeniedError("this station is not enrolled", code=problems.SIGNATURE)
        return Admitted(asker, signature, request)

    def _request(self, scope: Scope) -> httpsig.Request:
        host = [value for name, value in scope["headers"] if name == b"host"]
        if len(host) != 1:
            raise FormatError("the request does not have exactly one host field")
        query = scope["query_string"].decode("latin-1")
        return httpsig.Request(
            method=scope["method"],
            authority=self._names.authority(
                host[0].decode("latin-1"), scheme=scope["scheme"], port=int(scope["server"][1])
            ),
            path=scope["raw_path"].decode("latin-1"),
            query=f"?{query}" if query else "",
            body=announced_body(scope),
            session=httpsig.parse_session(scope["headers"]),
        )


def _is_signed_by(asker: Enrolled, algorithm: str, signature: bytes, message: bytes) -> bool:
    if algorithm != asker.verifier.scheme.request_name:
        return False
    try:
        asker.verifier.verify(signature, message, what="the request")
    except SignatureError:
        return False
    return True


def claim(scope: Scope) -> SignatureInput:
    """Return the signature of a request, and with it who it claims to be from.

    Raises AccessDeniedError when there is none, or it is malformed.
    """
    try:
        return httpsig.parse_signature_headers(scope["headers"])
    except AccessDeniedError as error:
        raise AccessDeniedError(error.message, code=problems.UNSIGNED) from None
    except FormatError as error:
        raise AccessDeniedError(error.message, code=problems.SIGNATURE) from None


def announced_body(scope: Scope) -> Body | None:
    """Return what a request says of its body; raise RelayRefusedError or FormatError."""
    if any(name == b"transfer-encoding" for name, _ in scope["headers"]):
        raise RelayRefusedError(
            "a body without a length is not accepted; send content-length", code=problems.LENGTH
        )
    return httpsig.parse_body(scope["headers"])

"""Who asks: the signature of a request, checked before anything else of it is looked at."""

from collections.abc import Collection
from typing import Final

from medshare import httpsig
from medshare.errors import AccessDeniedError, FormatError, RelayRefusedError, SignatureError
from medshare.httpsig import Body, NonceMemory, SignatureInput
from medshare.relay.enrolment import Enrolled, Stations
from medshare.relay.guard import Scope
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
        if authority.endswith(suffix) and authority.removesuffix(suffix) in self._hosts:
            return authority
        raise RelayRefusedError(
            "the request names another server than this relay", code=problems.MISDIRECTED
        )


class Admission:
    """Lets through who is enrolled, whom the signature proves, and what was not seen before."""

    def __init__(self, stations: Stations, names: Names, *, max_skew: int) -> None:
        self._stations = stations
        self._names = names
        self._memory = NonceMemory(max_skew=max_skew)

    def admit(self, scope: Scope, *, now: int) -> tuple[Enrolled, SignatureInput, Body | None]:
        """Return who sent the request, its signature, and what it says of its body.

        Raises AccessDeniedError, RelayRefusedError or FormatError; nothing was read by then.
        """
        headers = scope["headers"]
        signature = _signature(headers)
        host = [value for name, value in headers if name == b"host"]
        if len(host) != 1:
            raise FormatError("the request does not have exactly one host field")
        body = _body(headers)
        request = httpsig.Request(
            method=scope["method"],
            authority=self._names.authority(
                host[0].decode("latin-1"), scheme=scope["scheme"], port=int(scope["server"][1])
            ),
            path=scope["raw_path"].decode("latin-1"),
            query=_query(scope),
            body=body,
        )
        try:
            key_id = httpsig.verify_request(
                request, signature, now=now, memory=self._memory, verifier_for=self._verifier
            )
        except AccessDeniedError as error:
            raise AccessDeniedError(error.message, code=problems.SIGNATURE) from None
        enrolled = self._stations.find(key_id)
        if enrolled is None:  # removed in this very moment
            raise AccessDeniedError("this station is not enrolled", code=problems.SIGNATURE)
        return enrolled, signature, body

    def _verifier(self, key_id: str) -> httpsig.Verifier | None:
        enrolled = self._stations.find(key_id)
        if enrolled is None:
            return None

        def verify(signature: bytes, message: bytes) -> bool:
            try:
                enrolled.verifier.verify(signature, message, what="the request")
            except SignatureError:
                return False
            return True

        return verify


def _signature(headers: list[tuple[bytes, bytes]]) -> SignatureInput:
    try:
        return httpsig.parse_signature_headers(headers)
    except AccessDeniedError as error:
        raise AccessDeniedError(error.message, code=problems.UNSIGNED) from None
    except FormatError as error:
        raise AccessDeniedError(error.message, code=problems.SIGNATURE) from None


def _body(headers: list[tuple[bytes, bytes]]) -> Body | None:
    if any(name == b"transfer-encoding" for name, _ in headers):
        raise RelayRefusedError(
            "a body without a length is not accepted; send content-length", code=problems.LENGTH
        )
    return httpsig.parse_body(headers)


def _query(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return f"?{query}" if query else ""

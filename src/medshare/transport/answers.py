"""What a relay answers, and what httpx raises, as values and errors of ours; in one place each.

An answer is checked before it is believed: its status, its media type, its length.  What
makes no sense in docs/relay-protocol.md is said to come from something else than a relay.
"""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import httpx

from medshare.errors import (
    AccessDeniedError,
    FormatError,
    MedshareError,
    RelayUnavailableError,
    TransferError,
    UntrustedSignerError,
    UsageError,
)
from medshare.transport.pool import read_into
from medshare.wire import problems
from medshare.wire.routes import CBOR, OCTETS

Decoded = TypeVar("Decoded")


class Answer:
    """An answer whose head has come; everything about it is checked before it is believed."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    @classmethod
    def to(cls, request: httpx.Request, http: httpx.BaseTransport) -> "Answer":
        """Make *request* and return the answer, which is a success; raise what it is otherwise."""
        answer = cls(http.handle_request(request))
        try:
            answer._require_success()
        except BaseException:
            answer.close()
            raise
        return answer

    def close(self) -> None:
        """Let go of the connection."""
        self._response.close()

    def _require_success(self) -> None:
        status = self._response.status_code
        if status in {200, 204}:
            return
        if status < 400:
            raise FormatError(f"an answer with status {status}")
        data = self.read(problems.PROBLEM, limit=problems.MAX_PROBLEM)
        problem = problems.decode_problem(data)
        if problem.status != status:
            raise FormatError("a refusal that contradicts itself")
        raise problems.error_of(problem)

    def require_done(self) -> None:
        """Raise FormatError unless the answer says that it is done, and nothing else."""
        if self._response.status_code != 204:
            raise FormatError("an answer where none was asked for")

    def read(self, kind: str, *, limit: int) -> bytes:
        """Return the body, which is of *kind* and has at most *limit* octets."""
        buffer = memoryview(bytearray(self._size(kind, limit=limit)))
        read_into(self._response, buffer)
        return bytes(buffer)

    def decoded(self, decode: Callable[[bytes], Decoded], *, limit: int) -> Decoded:
        """Return what *decode* makes of the body."""
        return decode(self.read(CBOR, limit=limit))

    def read_into(self, into: memoryview) -> int:
        """Read the body into *into*; return its size."""
        self._size(OCTETS, limit=len(into))
        return read_into(self._response, into)

    def _size(self, kind: str, *, limit: int) -> int:
        headers = self._response.headers
        length = headers.get("content-length", "")
        if self._response.status_code == 204 or not (length.isascii() and length.isdecimal()):
            raise FormatError("an answer without a body")
        if int(length) > limit:
            raise TransferError(f"the relay's answer is larger than {limit} bytes")
        if int(length) and headers.get("content-type") != kind:
            raise FormatError("an answer of another media type")
        return int(length)


@contextmanager
def mapped_errors(*, relay: str = "") -> Iterator[None]:
    """Turn what httpx raises, and answers that make no sense, into errors of ours.

    Where the relay at *relay* wants somebody to sign in, the hint says how.
    """
    try:
        yield
    except AccessDeniedError as error:
        if error.code == problems.SECOND_FACTOR:
            error.hint = f"run: medshare sign-in --relay {relay}"
        raise
    except FormatError as error:
        raise RelayUnavailableError(
            f"this answers as no medshare relay does: {error.message}",
            hint="check the address of the relay, and what stands between",
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict) as error:
        raise _network_error(error) from error


def _network_error(error: Exception) -> MedshareError:
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return UntrustedSignerError(
            str(error), hint=_certificate_hint(error.__cause__), code="transfer.certificate"
        )
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return UsageError(str(error))
    return RelayUnavailableError(str(error) or "the connection to the relay failed")


def _certificate_hint(error: ssl.SSLCertVerificationError) -> str:
    """Return what to do about a certificate that does not verify (X509_verify_cert_error(3))."""
    message = getattr(error, "verify_message", "").lower()
    if "mismatch" in message:
        return (
            "use the name for which the certificate was issued; its operator gives it names "
            "by subjectAltName"
        )
    if "expired" in message or "not yet valid" in message:
        return "check the clock of this machine, and tell the operator of the relay"
    return "if the system does not know the relay's authority, set MEDSHARE_RELAY_CA to its file"

"""Asking a responder about a certificate (OCSP over HTTP, RFC 6960 appendix A)."""

import time
from typing import Final

import httpx

from medshare.errors import TransferError
from medshare.transport.tls import client_tls

_TYPE: Final = "application/ocsp-request"
_OK: Final = 200
_TIMEOUT: Final = 10.0  # seconds without progress
_MAX_SECONDS: Final = 30.0


def ask_responder(url: str, question: bytes, *, limit: int) -> bytes:
    """Return what the responder at *url* answers to *question*, *limit* octets at most.

    Nothing but *question* is sent, and no redirect is followed.  Raises TransferError when no
    answer comes in time, or what comes is none.
    """
    headers = {"content-type": _TYPE, "accept-encoding": "identity", "user-agent": "medshare"}
    try:
        with (
            httpx.Client(verify=client_tls(), timeout=_TIMEOUT, follow_redirects=False) as client,
            client.stream("POST", url, content=question, headers=headers) as response,
        ):
            if response.status_code != _OK:
                raise _failed(f"it answers with status {response.status_code}")
            return _bounded(response, limit)
    except httpx.TimeoutException as error:
        raise _failed("it does not answer in time") from error
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise _failed("it cannot be reached, or breaks off") from error


def _bounded(response: httpx.Response, limit: int) -> bytes:
    until = time.monotonic() + _MAX_SECONDS
    found = bytearray()
    for part in response.iter_raw():
        found += part
        if len(found) > limit:
            raise _failed("its answer is too long")
        if time.monotonic() > until:
            raise _failed("it does not answer in time")
    return bytes(found)


def _failed(why: str) -> TransferError:
    return TransferError(
        f"the responder of the authority cannot be asked: {why}",
        hint="try again later, or take in a revocation list: medshare trust update FILE",
        code="transfer.responder",
    )

"""Handing entries to a hospital's collector: syslog over TLS (RFC 5425), one connection.

TCP says when octets are lost on the way, and nothing says whether the collector kept them:
RFC 5425 knows no answer.  The record stays where it is, and can be sent again from any entry.
"""

import os
import socket
import ssl
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from medshare.audit.atna import framed, syslog_message
from medshare.audit.entries import Entry
from medshare.errors import AuthenticityError, RelayUnavailableError, UsageError
from medshare.transport.tls import TlsStream, client_tls

PORT: Final = 6514
_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Collector:
    """Where the collector listens, and what proves that it is the right one."""

    host: str
    port: int = PORT
    ca: Path | None = None
    """Certificates that vouch for it; None for those of the system."""
    certificate: Path | None = None
    """A certificate and its key in one file, for collectors that ask who is calling."""


def send_all(entries: Iterable[Entry], collector: Collector, *, origin: str) -> int:
    """Send *entries* of the record *origin*; return how many were handed over.

    Raises RelayUnavailableError when the collector cannot be reached or hangs up,
    AuthenticityError when it is not the one it should be, UsageError when the files of
    certificates cannot be used.
    """
    context = _context(collector)
    where = f"{collector.host} port {collector.port}"
    host, process = socket.getfqdn(), os.getpid()
    sent = 0
    try:
        with closing(_connect(collector, context)) as line:
            for entry in entries:
                message = syslog_message(entry, origin=origin, host=host, process=process)
                line.send_all(memoryview(framed(message)))
                sent += 1
            line.farewell()
    except ssl.SSLCertVerificationError as error:
        raise AuthenticityError(
            f"the collector at {where} is not who it should be: {error.verify_message}".lower(),
            hint="give the certificates that vouch for it with --ca",
        ) from error
    except OSError as error:
        reason = (error.strerror or str(error) or type(error).__name__).lower()
        raise RelayUnavailableError(
            f"the collector at {where} does not take the record: {reason}",
            hint="run the same command again; it begins with the same entry",
        ) from error
    return sent


def _connect(collector: Collector, context: ssl.SSLContext) -> TlsStream:
    plain = socket.create_connection((collector.host, collector.port), timeout=_SECONDS)
    line = TlsStream(plain, context, collector.host)
    try:
        line.set_timeout(_SECONDS)
        line.handshake()
    except BaseException:
        line.close()
        raise
    return line


def _context(collector: Collector) -> ssl.SSLContext:
    try:
        context = client_tls(collector.ca, protocol=None)
        if collector.certificate is not None:
            context.load_cert_chain(collector.certificate)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or "not pem"
        raise UsageError(f"a file of certificates cannot be used: {reason}".lower()) from error
    return context

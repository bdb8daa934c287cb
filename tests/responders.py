"""Responders (OCSP) as authorities run them, and as they never would."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from tests.certifier import (
    DAY,
    NOW,
    Parts,
    authority_certificate,
    certificate,
    credential,
    distinguished,
    doctor_parts,
    key_named,
    moment,
    usage,
)

URL = "http://127.0.0.1:9/ocsp"
SHORT = SHA1()
"""What names the issuer in questions and answers; no signature is made with it."""


def access(*urls: str) -> Parts:
    """The extension that names responders."""
    places = [
        x509.AccessDescription(
            AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url)
        )
        for url in urls
    ]
    return {"access": (x509.AuthorityInformationAccess(places), False)}


def asked_about(url: str = URL, **changes: Any) -> x509.Certificate:
    """A good credential that names a responder."""
    return credential(**{"parts": doctor_parts() | access(url)} | changes)


def delegate(
    *purposes: x509.ObjectIdentifier, label: str = "responder", by: str = "ca", **changes: Any
) -> x509.Certificate:
    """The certificate of a responder, with these extended key usages."""
    parts: Parts = {"usage": (usage(sign=True), True)}
    if purposes:
        parts["purpose"] = (x509.ExtendedKeyUsage(purposes), False)
    given: dict[str, Any] = {
        "subject": distinguished(cn="responder"),
        "issuer": authority_certificate().subject,
        "public": key_named(label).public_key(),
        "signer": key_named(by),
        "parts": parts,
        "serial": 99,
    }
    return certificate(**given | changes)


RESPONDER = delegate(ExtendedKeyUsageOID.OCSP_SIGNING)


def answer(
    about: x509.Certificate,
    *,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    issuer: x509.Certificate | None = None,
    since: int = NOW - 60,
    until: int | None = NOW + DAY,
    signer: x509.Certificate | None = None,
    key: Any = None,
    hashed: HashAlgorithm | None = None,
    attached: tuple[x509.Certificate, ...] = (),
    by_name: bool = False,
    critical: bool = False,
) -> bytes:
    """What a responder answers about a certificate; *signer* is whom it names as its own."""
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        about,
        issuer or authority_certificate(),
        SHORT,
        status,
        moment(since),
        None if until is None else moment(until),
        moment(since - 60) if revoked else None,
        x509.ReasonFlags.key_compromise if revoked else None,
    )
    encoding = ocsp.OCSPResponderEncoding
    builder = builder.responder_id(
        encoding.NAME if by_name else encoding.HASH, signer or authority_certificate()
    )
    if attached:
        builder = builder.certificates(attached)
    if critical:
        builder = builder.add_extension(x509.OCSPNonce(b"critical"), critical=True)
    return builder.sign(key or key_named("ca"), hashed).public_bytes(Encoding.DER)


@dataclass
class Running:
    """A responder on the loopback, what it was asked, and what it answers."""

    url: str
    reply: Callable[[bytes], tuple[int, bytes]]
    asked: list[bytes] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def running() -> Iterator[Running]:
    """Run a responder, which answers 500 until it is told what to say."""
    state = Running("", lambda _: (500, b""))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            question = self.rfile.read(int(self.headers["content-length"]))
            state.asked.append(question)
            state.heads.append({name.lower(): value for name, value in self.headers.items()})
            status, body = state.reply(question)
            self.send_response(status)
            if status in {301, 302, 307}:
                self.send_header("location", body.decode())
                body = b""
            self.send_header("content-type", "application/ocsp-response")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/ocsp"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

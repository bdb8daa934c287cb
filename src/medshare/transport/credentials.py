"""What a station shows a relay: the signature of each request, its session, its certificate."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import httpx
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from medshare import clientcert, httpsig
from medshare.clientcert import Certificate, PrivateKey, PublicKey
from medshare.disk.atomic import read_file
from medshare.errors import UsageError
from medshare.ids import StationId
from medshare.suites.base import SYSTEM_RANDOM, RandomBytes, Signer
from medshare.suites.signatures import scheme_named
from medshare.transport.tls import client_tls
from medshare.trust.card import Card

DIGEST: Final = "medshare.digest"
"""The extension of a request of httpx that holds the digest of its body."""
_MAX_KEY: Final = 64 * 1024


class Requester(Protocol):
    """Who asks: the part of an identity that signs requests, and the card that shows its key."""

    @property
    def station(self) -> StationId:
        """Its id."""

    @property
    def card(self) -> Card:
        """Its card, with all generations."""

    @property
    def request_signer(self) -> Signer:
        """The first of its newest keys that signs requests."""


@dataclass(frozen=True, slots=True, repr=False)
class ClientKey:
    """A client certificate with its key, and the files of both, which TLS reads."""

    certificate: Certificate
    key: PrivateKey
    cert_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class Shown:
    """What a station shows beside its signature; empty where it has none."""

    session: str = field(default="", repr=False)
    client: ClientKey | None = None


def load_client_key(cert_file: Path, key_file: Path) -> ClientKey:
    """Return the client certificate and key in two PEM files.

    Raises UsageError when they are none, or do not belong together, StorageError when they
    cannot be read.
    """
    found = read_file(cert_file, limit=_MAX_KEY, what="the client certificate")
    certificate = clientcert.parse_certificate(_first(found))
    octets = read_file(key_file, limit=_MAX_KEY, what="the key of the client certificate")
    try:
        key = load_pem_private_key(octets, None)
    except (ValueError, TypeError) as error:
        raise UsageError(
            "the key of the client certificate cannot be read",
            hint="it is a PEM file, not encrypted, that only this user can read",
        ) from error
    if not isinstance(
        key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    ) or _octets(key.public_key()) != _octets(certificate.key):
        raise UsageError("the client certificate and its key do not belong together")
    return ClientKey(certificate, key, cert_file, key_file)


def _first(pem: bytes) -> bytes:
    """Return the first certificate of a chain."""
    end = b"-----END CERTIFICATE-----"
    return pem.partition(end)[0] + end if end in pem else pem


def _octets(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def tls_with(client: ClientKey, ca_file: Path | None) -> ssl.SSLContext:
    """Return TLS as `client_tls` makes it, which also shows the certificate of *client*."""
    tls = client_tls(ca_file)
    tls.load_cert_chain(client.cert_file, client.key_file)
    return tls


class Signing:
    """Signs the requests of one station to the relay called *authority*."""

    def __init__(
        self,
        requester: Requester,
        authority: str,
        shown: Shown,
        *,
        clock: Callable[[], float],
        random: RandomBytes = SYSTEM_RANDOM,
    ) -> None:
        self._requester = requester
        self._authority = authority
        self._shown = shown
        self._clock = clock
        self._random = random
        self.scheme = scheme_named(requester.request_signer.public.algorithm)

    def fields(self, request: httpx.Request) -> Mapping[str, str]:
        """Return the fields that sign *request*, for one attempt."""
        digest = request.extensions.get(DIGEST)
        path, _, query = request.url.raw_path.decode("ascii").partition("?")
        fields = httpsig.sign_request(
            httpsig.Request(
                method=request.method,
                authority=self._authority,
                path=path,
                query=f"?{query}" if query else "",
                body=digest
                and httpsig.Body(
                    digest, int(request.headers["content-length"]), self.scheme.request_hash
                ),
                session=self._shown.session,
            ),
            key_id=self._requester.station.hex(),
            nonce=httpsig.encode_nonce(self._random(httpsig.NONCE_BYTES)),
            created=int(self._clock()),
            sign=self._requester.request_signer.sign,
            algorithm=self.scheme.request_name,
        )
        client = self._shown.client
        if client is None:
            return fields
        return clientcert.sign_second(fields, client.certificate, client.key)

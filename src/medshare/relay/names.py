"""What a relay is called: the names for which its certificate stands, and those it is given."""

import ipaddress
from collections.abc import Collection
from pathlib import Path
from typing import Final

from cryptography import x509

from medshare.disk.atomic import read_file
from medshare.errors import UsageError
from medshare.relay.admission import Names

_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_MAX_CERTIFICATES: Final = 1 << 20


def names_of(tls_cert: Path | None, given: Collection[str] = ()) -> Names:
    """Return the names under which requests may be made.

    *given* are exact, with a port unless it is 443: what clients call a relay that stands
    behind a proxy.  The subjects of the certificate, or the names of this machine for
    itself, count with the port on which the relay listens.
    """
    if tls_cert is None:
        return Names(given, _LOOPBACK)
    pem = read_file(tls_cert, limit=_MAX_CERTIFICATES, what="the certificate")
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        subjects = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise UsageError(
            f"certificate {tls_cert} does not say for which hosts it stands",
            hint="it needs a subject alternative name; clients accept no other",
        ) from error
    hosts = [*subjects.get_values_for_type(x509.DNSName)]
    hosts += [_written(one) for one in subjects.get_values_for_type(x509.IPAddress)]
    return Names(given, hosts)


def _written(address: object) -> str:
    """Return an address as it stands in a URL."""
    return f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else str(address)

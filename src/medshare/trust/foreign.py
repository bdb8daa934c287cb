"""The border to the library that reads X.509: whatever it objects to is a FormatError here."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

from medshare.errors import FormatError


@contextmanager
def x509_errors(what: str) -> Iterator[None]:
    """Raise FormatError when *what*, read inside the block, is malformed.

    So it is when the library only warns of it, as of serial numbers that are not positive.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            yield
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.ExtensionNotFound,
        x509.InvalidVersion,
        CryptographyDeprecationWarning,
    ) as error:
        raise FormatError(f"{what} is malformed") from error


def require_whole_signature(octets: bytes, signature: bytes, *, what: str) -> None:
    """Raise FormatError unless *octets* end in *signature* with no unused bits.

    The count of unused bits is not signed: two encodings of one certificate would have two
    digests.
    """
    if not octets.endswith(b"\x00" + signature):
        raise FormatError(f"{what} is malformed")

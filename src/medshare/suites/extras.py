"""Libraries that come with an extra of the package, and what to say where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from medshare.errors import UsageError


@contextmanager
def from_extra(extra: str) -> Iterator[None]:
    """Name *extra* in a UsageError when an import inside the block fails."""
    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"this needs libraries that are not installed here: those of medshare[{extra}]",
            hint=f"install them with: pip install 'medshare[{extra}]'",
        ) from error

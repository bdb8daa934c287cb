"""A row of the table of published faults."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One fault, or family of faults: where it was, what it would be here, what holds it."""

    number: str
    advisory: str
    concern: str
    tests: tuple[str, ...] = ()
    reason: str = ""
    """Why it cannot concern us, or what the tests do not cover."""


def named(text: str) -> tuple[str, ...]:
    """Return the names of tests, of which *text* lists what follows `test_`."""
    return tuple(f"test_{name}" for name in text.split())

"""A keyring of our own in place of that of the operating system."""

from collections.abc import Iterator
from contextlib import contextmanager

import keyring
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked


class Ring(KeyringBackend):
    """A keyring that forgets everything at the end."""

    priority = 1.0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library's
        self.kept: dict[tuple[str, str], str] = {}
        self.locked = False
        self.keeps = True

    def get_password(self, service: str, username: str) -> str | None:
        """Return what was kept."""
        if self.locked:
            raise KeyringLocked("locked")
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep it."""
        if self.keeps:
            self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        """Forget it."""
        del self.kept[service, username]


@contextmanager
def ring_in_place() -> Iterator[Ring]:
    """Let the keyring of this process be a new one inside the block."""
    before = keyring.get_keyring()
    ring = Ring()
    keyring.set_keyring(ring)
    try:
        yield ring
    finally:
        keyring.set_keyring(before)

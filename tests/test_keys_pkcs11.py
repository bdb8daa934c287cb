"""The keystore in a token, against SoftHSM2."""

from pathlib import Path

import pytest

from medshare.keys.base import KeyStore
from tests import softhsm
from tests.suites.keystore_suite import CREATED, KeyStoreSuite

pytestmark = pytest.mark.service


class TestTokenKeyStore(KeyStoreSuite):
    """A token keeps the contract of all backends."""

    def make(self, folder: Path) -> KeyStore:
        """Return a new keystore in the token."""
        return softhsm.backend().create(folder, created=CREATED)

    def reopen(self, folder: Path) -> KeyStore:
        """Return the same keystore after all sessions have ended."""
        softhsm.restart()
        return softhsm.backend().open(folder)

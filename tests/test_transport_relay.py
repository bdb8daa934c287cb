"""The relay's transport against a real relay: the contract of all transports, over TLS."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running_relay import Relay, enroll, running_relay
from tests.running_server import Certificate
from tests.suites.transport_suite import ALICE, BOB, CAROL, TransportSuite

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """One relay for all tests of the contract."""
    folder = tmp_path_factory.mktemp("relay")
    data: Path = folder / "data"
    enroll(data, ALICE, BOB, CAROL)
    with running_relay(data, files=Certificate.issue(folder)) as relay:
        yield relay


class TestRelayTransport(TransportSuite):
    """A relay over HTTPS keeps the contract of all transports."""

"""The guards of the test run itself can fail."""

import os
import socket
from pathlib import Path

import pytest


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "relay.example.org"])
def test_no_test_leaves_this_machine(address: str) -> None:
    """Connecting to another machine, by number or by name, is an error."""
    with pytest.raises(RuntimeError, match="not this machine"):
        socket.create_connection((address, 443), timeout=1)


def test_loopback_is_open() -> None:
    """A server on this machine can be reached."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        assert client.getpeername() == server.getsockname()


def test_home_is_empty_and_belongs_to_the_test(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever a station writes by default lands in a folder made for the test."""
    assert list(Path.home().iterdir()) == []
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "MEDSHARE_HOME"):
        assert Path(os.environ[name]).is_relative_to(tmp_path_factory.getbasetemp())

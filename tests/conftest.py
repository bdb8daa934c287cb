"""What holds for every test: a clean environment, no network, repeatable randomness."""

import ipaddress
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}

settings.register_profile(
    "ci", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("dev", settings.get_profile("ci"), max_examples=20)
settings.register_profile("thorough", settings.get_profile("ci"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_configure() -> None:
    """Let the programs that tests start hear Ctrl-C, which a shell's background job ignores."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests with real servers last: what is cheap fails first."""
    items.sort(key=lambda item: item.get_closest_marker("service") is not None)


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Let no test see, or touch, what the person running it keeps at home."""
    home = Path(tempfile.mkdtemp(prefix="home-", dir=tmp_path_factory.getbasetemp()))
    for name in list(os.environ):
        ours = name.startswith(("XDG_", "MEDSHARE_")) and name != "MEDSHARE_CORPUS"
        if ours or name.lower() in PROXIES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    for kind in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(home / kind.lower()))
    monkeypatch.setenv("MEDSHARE_HOME", str(home / "medshare"))
    umask = os.umask(0o022)
    yield
    os.umask(umask)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """Refuse every connection and every name look-up that would leave this machine."""
    with pytest.MonkeyPatch.context() as patch:
        _guard_addresses(patch)
        _guard_names(patch)
        yield


def _guard_addresses(patch: pytest.MonkeyPatch) -> None:
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guarded_connect(self: socket.socket, address: Any) -> None:
        _require_loopback(self.family, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        _require_loopback(self.family, address)
        return connect_ex(self, address)

    patch.setattr(socket.socket, "connect", guarded_connect)
    patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)


def _guard_names(patch: pytest.MonkeyPatch) -> None:
    getaddrinfo = socket.getaddrinfo

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name:
            _require_loopback(socket.AF_INET, (name,))
        return getaddrinfo(host, *args, **kwargs)

    patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)


def _require_loopback(family: int, address: Any) -> None:
    if family not in {socket.AF_INET, socket.AF_INET6} or address[0] in {"", "localhost"}:
        return
    try:
        inside = ipaddress.ip_address(address[0].partition("%")[0])
    except ValueError:
        inside = None
    if inside is None or not (inside.is_loopback or inside.is_unspecified):
        message = f"a test tried to reach {address[0]}, which is not this machine"
        raise RuntimeError(message)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real studies: MEDSHARE_CORPUS, or `shared/corpus` beside the checkout."""
    folder = Path(os.environ.get("MEDSHARE_CORPUS", ROOT.parent / "shared" / "corpus"))
    if not folder.is_dir():
        pytest.skip(f"no corpus of real studies at {folder}; set MEDSHARE_CORPUS")
    return folder

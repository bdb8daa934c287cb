"""SoftHSM2, a PKCS#11 token in software, in a folder of this test process."""

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from medshare.keys.pkcs11 import TokenBackend
from medshare.keys.pkcs11_session import LOCK, forget_sessions
from medshare.keys.pkcs11_uri import Pkcs11Uri

PIN = b"314159"
OFFICER_PIN = "27182818"
_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)


@cache
def module() -> Path:
    """Return the path of the module, ready to be loaded; skip the test where there is none."""
    pytest.importorskip("pkcs11", reason="medshare[hsm] is not installed")
    found = [Path(path) for path in _MODULES if Path(path).is_file()]
    if not found or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM2 is not installed: apt-get install softhsm2")
    folder = Path(tempfile.mkdtemp(prefix="softhsm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(
        f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n", encoding="utf-8"
    )
    # The module reads it whenever it is initialised, so it must outlive the first test.
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    return found[0]


def tokens_folder() -> Path:
    """Return the folder in which the tokens of this process are."""
    module()
    return Path(os.environ["SOFTHSM2_CONF"]).with_name("tokens")


LABEL = "medshare"


@cache
def token() -> Pkcs11Uri:
    """Return the name of the token that tests share, made at the first call."""
    return new_token(LABEL)


def new_token(label: str) -> Pkcs11Uri:
    """Return the name of a new token called *label*."""
    module()
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", label,
         "--so-pin", OFFICER_PIN, "--pin", PIN.decode()],
        check=True,
        capture_output=True,
    )  # fmt: skip
    restart()
    return Pkcs11Uri(token=label)


def restart(*, noticed: bool = True) -> None:
    """End all sessions, as pulling the token out does, and look for tokens anew.

    Unless that is *noticed*, the connections of this process go on with what they had.  Only
    where one token is used: the module numbers new sessions from the beginning.
    """
    with LOCK:  # or another thread might be inside
        loaded().reinitialize()
        if noticed:
            forget_sessions()


def loaded() -> Any:
    """Return the module, loaded into this process."""
    import pkcs11

    return pkcs11.lib(str(module()))


def backend(pin: bytes = PIN) -> TokenBackend:
    """Return the token that tests share as a backend."""
    return TokenBackend(module=module(), uri=token(), pin=pin)

"""Ctrl-C in the middle: the program ends at once, and says how to go on."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from medshare import cli

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.service
def test_ctrl_c_ends_a_transfer_that_waits(tmp_path: Path) -> None:
    """A sender whose relay is gone says so, and ends in 130 when it is interrupted."""
    passphrase = tmp_path / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text("a very long passphrase")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "MEDSHARE_PASSPHRASE_FILE": str(passphrase),
    }
    for name in ("a", "b"):
        homes = environment | {"MEDSHARE_HOME": str(tmp_path / name)}
        run = CliRunner(env=homes)
        assert run.invoke(cli.cli, ["init", "--name", name]).exit_code == 0
        card = ["card", "export", "--output", str(tmp_path / f"{name}.card")]
        assert run.invoke(cli.cli, card).exit_code == 0
    environment["MEDSHARE_HOME"] = str(tmp_path / "a")
    trust = ["card", "import", str(tmp_path / "b.card"), "--yes"]
    assert CliRunner(env=environment).invoke(cli.cli, trust).exit_code == 0
    (tmp_path / "study").write_bytes(b"pixels")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: every connection is refused
        relay = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        words = ["send", str(tmp_path / "study"), "--to", "b", "--relay", relay, "-v"]
        process = subprocess.Popen(
            [sys.executable, "-m", "medshare", *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate()
    assert "the other side cannot be reached, or fails; trying again" in first
    assert process.returncode == 130
    assert out == ""
    assert rest.splitlines()[-2:] == [
        "medshare: error: interrupted",
        "medshare: hint: run the same command again to resume",
    ]
    assert "Traceback" not in rest

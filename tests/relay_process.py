"""Runs `medshare relay` as a process of its own, to be killed at will."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from medshare.transport.relay import RelayTransport
from tests.builder import Identity
from tests.conftest import ROOT
from tests.running_relay import requester

PATIENCE = 20.0  # seconds, so that a broken test ends


def command(*words: str) -> list[str]:
    """Return the command line for `medshare relay …`."""
    return [sys.executable, "-m", "medshare", "relay", *words]


def environment() -> dict[str, str]:
    """Return the environment of such a process."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


def run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run `medshare relay …` to its end."""
    done = subprocess.run(
        command(*words),
        input=stdin,
        capture_output=True,
        env=environment(),
        timeout=PATIENCE,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


@dataclass
class RelayProcess:
    """A relay in a process of its own."""

    url: str
    process: "subprocess.Popen[str]"
    transports: ExitStack

    def kill(self) -> None:
        """Let it die at once (SIGKILL)."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def terminate(self) -> tuple[int, str, str]:
        """Ask it to end (SIGTERM); return its exit code, and the rest of its output."""
        self.process.terminate()
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def transport(self, identity: Identity, *, ca_file: Path | None = None) -> RelayTransport:
        """Return the relay as *identity* sees it, until the block ends."""
        made = RelayTransport(self.url, requester(identity), ca_file=ca_file)
        self.transports.callback(made.close)
        return made


@contextmanager
def relay_process(data: Path, *words: str) -> Iterator[RelayProcess]:
    """Run a relay on the data folder *data* until the block ends."""
    process = subprocess.Popen(
        command("serve", "--data", str(data), "--listen", "127.0.0.1:0", "--json", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate(timeout=PATIENCE)[1]
        with ExitStack() as transports:
            yield RelayProcess(json.loads(line)["url"], process, transports)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE)

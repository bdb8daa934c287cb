"""scp, rsync, and age or crypt4gh through ssh: all by a daemon of our own.

The daemon runs as the current user, on a high port, with keys that live as long as the
folder of the comparison; no password is ever accepted.  Everybody uses AES-256-GCM, the
cipher of the others, which is faster here than OpenSSH's own preference.
"""

import getpass
import os
import shlex
import subprocess
from pathlib import Path
from typing import ClassVar, Final

from benchmarks.carrying import Carrying
from benchmarks.hosts import Host, free_port
from benchmarks.tools.base import Tool, program

_CIPHER: Final = "aes256-gcm@openssh.com"
_PRIVILEGE_SEPARATION: Final = Path("/run/sshd")


class Daemon:
    """An ssh daemon on *host*, and how to reach it; keys and settings lie in *folder*."""

    def __init__(self, folder: Path, host: Host) -> None:
        self.folder, self.host, self.port = folder, host, free_port()
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in ("host", "user"):
            if not (folder / name).exists():
                words = ["-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
                subprocess.run([program("ssh-keygen"), *words], check=True)
        public = (folder / "host.pub").read_text(encoding="ascii").strip()
        self._write("authorized", (folder / "user.pub").read_text(encoding="ascii"))
        self._write("known", f"[{host.address}]:{self.port} {public}\n")
        self._write("sshd_config", self._server())
        self._write("config", self._client())
        if os.geteuid() == 0:
            _PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text, encoding="ascii")
        path.chmod(0o600)

    def _server(self) -> str:
        folder = self.folder
        return "\n".join(
            [
                f"ListenAddress {self.host.address}:{self.port}",
                f"HostKey {folder}/host",
                f"AuthorizedKeysFile {folder}/authorized",
                "PidFile none",
                "StrictModes no",
                "UsePAM no",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                "PermitRootLogin prohibit-password",
                f"AllowUsers {getpass.getuser()}",
                "PrintMotd no",
                "PrintLastLog no",
                "Subsystem sftp internal-sftp",
                "",
            ]
        )

    def _client(self) -> str:
        folder = self.folder
        return "\n".join(
            [
                "Host far",
                f"  HostName {self.host.address}",
                f"  Port {self.port}",
                f"  User {getpass.getuser()}",
                f"  IdentityFile {folder}/user",
                "  IdentitiesOnly yes",
                "  IdentityAgent none",
                f"  UserKnownHostsFile {folder}/known",
                "  GlobalKnownHostsFile /dev/null",
                "  StrictHostKeyChecking yes",
                f"  Ciphers {_CIPHER}",
                "  Compression no",
                "  BatchMode yes",
                "  LogLevel ERROR",
                "",
            ]
        )

    @property
    def options(self) -> list[str]:
        """What `ssh`, `scp` and `sftp` need to reach it as the host `far`."""
        return ["-F", str(self.folder / "config")]

    @property
    def command(self) -> str:
        """`ssh` with these options, as one string for a shell."""
        return shlex.join([program("ssh"), *self.options])

    def serve(self, trip: Carrying) -> None:
        """Start it."""
        command = [program("sshd"), "-D", "-e", "-f", str(self.folder / "sshd_config")]
        trip.serve("sshd", command, self.host, port=self.port)


class _OverSsh(Tool):
    """What all of these have in common."""

    needs: ClassVar[tuple[str, ...]] = ("ssh", "sshd", "ssh-keygen")

    def set_up(self) -> None:
        self.daemon = Daemon(self.place / "ssh", self.far)


class Scp(_OverSsh):
    """scp of OpenSSH 9, which speaks the sftp protocol."""

    name = "scp"
    way = "scp -r"
    needs = (*_OverSsh.needs, "scp")

    def carry(self, trip: Carrying, source: Path, target: Path) -> None:
        self.daemon.serve(trip)
        trip.begin()
        command = [program("scp"), "-q", "-r", *self.daemon.options, str(source), f"far:{target}/"]
        trip.run("scp", command, self.near)


class Rsync(_OverSsh):
    """rsync to an empty folder: everything is sent whole."""

    name = "rsync"
    way = "rsync -a over ssh"
    needs = (*_OverSsh.needs, "rsync")
    words: ClassVar[tuple[str, ...]] = ("-a",)

    def carry(self, trip: Carrying, source: Path, target: Path) -> None:
        self.daemon.serve(trip)
        trip.begin()
        words = [*self.words, "-e", self.daemon.command, str(source), f"far:{target}/"]
        trip.run("rsync", [program("rsync"), *words], self.near)


class RsyncZ(Rsync):
    """rsync with its own compression, Zstandard where both ends know it."""

    name = "rsync -z"
    way = "rsync -az over ssh"
    words = ("-az",)


class _Piped(_OverSsh):
    """A filter on either side of an ssh connection; folders go through tar."""

    seals = True

    def encrypt(self) -> str:
        """Return the command that encrypts its input."""
        raise NotImplementedError

    def decrypt(self) -> str:
        """Return the command that decrypts its input."""
        raise NotImplementedError

    def carry(self, trip: Carrying, source: Path, target: Path) -> None:
        self.daemon.serve(trip)
        name = shlex.quote(source.name)
        if source.is_dir():
            read = f"tar -C {shlex.quote(str(source.parent))} -c {name} | {self.encrypt()}"
            write = f"{self.decrypt()} | tar -C {shlex.quote(str(target))} -x"
        else:
            read = f"{self.encrypt()} < {shlex.quote(str(source))}"
            write = f"{self.decrypt()} > {shlex.quote(str(target))}/{name}"
        far = f"{self.daemon.command} far {shlex.quote(f'set -o pipefail; {write}')}"
        trip.begin()
        trip.run(
            "pipe",
            [program("bash"), "-c", f"set -o pipefail; {read} | {far}"],
            self.near,
        )


class Age(_Piped):
    """age to an X25519 recipient: ChaCha20-Poly1305, there is no choice."""

    name = "age | ssh"
    way = "age -r … | ssh 'age -d'"
    needs = (*_OverSsh.needs, "age", "age-keygen", "bash", "tar")

    def set_up(self) -> None:
        super().set_up()
        key = self.place / "age.key"
        self.recipient = age_key(key)
        self.key = key

    def encrypt(self) -> str:
        return f"{program('age')} -e -r {self.recipient}"

    def decrypt(self) -> str:
        return f"{program('age')} -d -i {shlex.quote(str(self.key))}"


class Crypt4gh(_Piped):
    """crypt4gh of the GA4GH: X25519 and ChaCha20-Poly1305, in Python."""

    name = "crypt4gh | ssh"
    way = "crypt4gh encrypt | ssh 'crypt4gh decrypt'"
    needs = (*_OverSsh.needs, "crypt4gh", "crypt4gh-keygen", "bash", "tar")

    def set_up(self) -> None:
        super().set_up()
        for end in ("near", "far"):
            keys = ["--sk", f"{self.place}/{end}.sec", "--pk", f"{self.place}/{end}.pub"]
            command = [program("crypt4gh-keygen"), *keys, "--nocrypt", "-f"]
            subprocess.run(command, check=True, capture_output=True)

    def encrypt(self) -> str:
        keys = ["--sk", f"{self.place}/near.sec", "--recipient_pk", f"{self.place}/far.pub"]
        return shlex.join([program("crypt4gh"), "encrypt", *keys])

    def decrypt(self) -> str:
        return shlex.join([program("crypt4gh"), "decrypt", "--sk", f"{self.place}/far.sec"])


def age_key(path: Path) -> str:
    """Write a key of age to *path* and return its recipient."""
    subprocess.run([program("age-keygen"), "-o", str(path)], check=True, capture_output=True)
    command = [program("age-keygen"), "-y", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

"""Peers that put everything on a server first: rclone on WebDAV, restic on sftp.

The sender puts, then the receiver gets: neither tool lets one read what the other has not
finished.  The server stands at the far host.
"""

import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

from benchmarks.carrying import Carrying, empty
from benchmarks.hosts import free_port
from benchmarks.tools.base import Tool, program
from benchmarks.tools.ssh import Daemon


class Rclone(Tool):
    """rclone crypt up and down; the WebDAV server, rclone too, sees ciphertext without TLS."""

    name = "rclone crypt"
    way = "rclone copy to crypt on WebDAV, and back"
    legs = 2
    seals = True
    needs = ("rclone",)
    remote: ClassVar[str] = "sealed:"

    def set_up(self) -> None:
        self.port = free_port()
        self.config = self.place / "rclone.conf"
        obscured = subprocess.run(
            [program("rclone"), "obscure", "a passphrase for a comparison"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        lines = [
            "[dav]",
            "type = webdav",
            f"url = http://{self.far.address}:{self.port}",
            "vendor = other",
            "[sealed]",
            "type = crypt",
            "remote = dav:store",
            f"password = {obscured}",
            "[small]",
            "type = compress",
            "remote = sealed:",
            "",
        ]
        self.config.write_text("\n".join(lines), encoding="ascii")

    def carry(self, trip: Carrying, source: Path, target: Path) -> None:
        store = empty(self.place / "store")
        rclone = [program("rclone"), "--config", str(self.config)]
        address = f"{self.far.address}:{self.port}"
        serve = [*rclone, "serve", "webdav", str(store), "--addr", address]
        trip.serve("rclone-webdav", serve, self.far, port=self.port)
        trip.begin()
        at = f"{self.remote}{source.name}" if source.is_dir() else self.remote
        into = target / source.name if source.is_dir() else target
        trip.run("rclone-up", [*rclone, "copy", str(source), at], self.near)
        trip.run("rclone-down", [*rclone, "copy", at, str(into)], self.far)

    def clean(self) -> None:
        shutil.rmtree(self.place / "store", ignore_errors=True)


class RcloneCompress(Rclone):
    """rclone compress (gzip) over crypt."""

    name = "rclone compress"
    way = "rclone copy to compress over crypt on WebDAV, and back"
    remote = "small:"


class Restic(Tool):
    """restic backup over sftp, then restore over sftp: AES-256-CTR with Poly1305, Zstandard."""

    name = "restic"
    way = "restic backup to sftp, and restore"
    legs = 2
    seals = True
    needs = ("restic", "ssh", "sshd", "ssh-keygen")

    def set_up(self) -> None:
        self.daemon = Daemon(self.place / "ssh", self.far)
        self.store = self.place / "store"
        password = self.place / "password"
        password.write_text("a passphrase for a comparison\n", encoding="ascii")
        self.restic = [
            program("restic"),
            *("--password-file", str(password)),
            *("--cache-dir", str(self.place / "cache")),
            *("-q", "-o", f"sftp.command={self.daemon.command} far -s sftp"),
            *("-r", f"sftp:far:{self.store}"),
        ]

    def carry(self, trip: Carrying, source: Path, target: Path) -> None:
        self.clean()
        local = [word.replace("sftp:far:", "") for word in self.restic]
        subprocess.run([*local, "init"], check=True, capture_output=True)
        self.daemon.serve(trip)
        trip.begin()
        backup = [*self.restic, "backup", source.name]
        trip.run("restic-backup", backup, self.near, cwd=source.parent)
        restore = [*self.restic, "restore", "latest", "--target", str(target)]
        trip.run("restic-restore", restore, self.far)

    def clean(self) -> None:
        for name in ("store", "cache"):
            shutil.rmtree(self.place / name, ignore_errors=True)

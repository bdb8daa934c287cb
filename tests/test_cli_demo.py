"""`medshare demo`: what a newcomer sees first, and what is left when it is over."""

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from medshare import cli
from medshare.commands import stage
from medshare.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent


def demo(scratch: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the demo as a person would, with *scratch* for its temporary folder."""
    return subprocess.run(
        [sys.executable, "-m", "medshare", "demo", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.service
@pytest.mark.slow
def test_the_demo_shows_what_it_promises(tmp_path: Path) -> None:
    """With real images: delivered, verified, damage refused and mended; nothing stays behind."""
    pytest.importorskip("data_store", reason="needs medshare[demo]")
    done = demo(tmp_path)
    assert done.returncode == 0, done.stderr
    for sentence in (
        "every byte verified",
        "✓ delivered: signed receipt of hospital-b names all",
        "no DICOM header, is in its store",
        "exit code 3",
        "moved    1 chunk",
        "1 of 8 chunks sent again, the rest kept",
    ):
        assert sentence in done.stdout, sentence
    assert "chunks is to be had; they hold study/" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.service
@pytest.mark.slow
def test_the_demo_takes_a_study_of_yours(tmp_path: Path) -> None:
    """A path is sent as it is, and is only read."""
    scratch, study = tmp_path / "scratch", tmp_path / "my study"
    scratch.mkdir()
    study.mkdir()
    (study / "slice-0001.dcm").write_bytes(os.urandom(50_000))
    study.chmod(0o500)
    done = demo(scratch, str(study))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "my study/slice-0001.dcm" in done.stdout
    assert [file.name for file in study.iterdir()] == ["slice-0001.dcm"]
    assert list(scratch.iterdir()) == []


def test_the_demo_names_the_package_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without images the demo says how to get some."""
    monkeypatch.setattr(stage, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        stage.gather_study(tmp_path)
    assert caught.value.hint is not None
    assert "medshare[demo]" in caught.value.hint


def test_a_study_that_is_not_there_is_said_at_once() -> None:
    """A wrong path ends in 2 before anything is started."""
    done = CliRunner().invoke(cli.cli, ["demo", "/no/such/study"], prog_name="medshare")
    assert done.exit_code == 2
    assert "there is nothing at /no/such/study" in done.stderr


def test_the_certificate_is_for_this_machine_alone(tmp_path: Path) -> None:
    """A strict client accepts the demo's relay for 127.0.0.1 by its authority, and nobody else."""
    ca_file, cert, key = stage.make_certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    assert key.stat().st_mode & 0o077 == 0
    for name, accepted in (("127.0.0.1", True), ("127.0.0.2", False), ("localhost", False)):
        client = ssl.create_default_context(cafile=str(ca_file))
        client.verify_flags |= ssl.VERIFY_X509_STRICT
        assert shakes_hands(server, client, name) is accepted, name


def shakes_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    """Let two ends shake hands in memory; tell whether the client accepts the server."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = server.wrap_bio(to_server, to_client, server_side=True)
    here = client.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(6):
        for end in (here, there):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return True


def test_a_flipped_byte_is_one_byte(tmp_path: Path) -> None:
    """The damage is exactly one byte, in the middle."""
    file = tmp_path / "chunk"
    file.write_bytes(bytes(1000))
    stage.flip_byte(file)
    octets = file.read_bytes()
    assert len(octets) == 1000
    assert [at for at, octet in enumerate(octets) if octet] == [500]

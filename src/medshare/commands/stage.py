"""The scenery of `medshare demo`: a relay with TLS, two hospitals, and a real study.

Everything lives in one temporary folder and on the loopback interface.
"""

import ipaddress
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medshare.errors import MedshareError, StorageError, UsageError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

# Which of the images that pydicom-data ships belong to which modality, by their first letters.
_MODALITIES: Final[Mapping[str, tuple[str, ...]]] = {
    "CR": ("RG1_UNCR", "RG3_UNCR", "RG3_J2KR"),
    "CT": ("693_UNCR", "693_J2KR", "eCT_Supplemental", "explicit_VR-UN"),
    "MR": ("MR2_UNCR", "MR2_J2KR", "MR-SIEMENS", "emri_small"),
    "NM": ("JPEG2000_UNC", "JPEG-LL"),
    "SEG": ("liver",),
    "US": ("US1_UNCR", "US1_J2KR", "OBXXXX1A", "gdcm-US", "color3d", "JPGLossless"),
}
_LEAST_FILES: Final = 20
_STOP_SECONDS: Final = 10


def gather_study(folder: Path) -> Path:
    """Copy the DICOM images of the package pydicom-data into *folder*, by modality.

    Raises UsageError when the package is not installed.
    """
    spec = find_spec("data_store")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    images = sorted(Path(places[0], "data").glob("*.dcm")) if places else []
    if len(images) < _LEAST_FILES:
        raise UsageError(
            "the demo needs images, and the package that brings some is not installed",
            hint="pip install 'medshare[demo]', or name a study of yours: medshare demo PATH",
        )
    for modality, names in _MODALITIES.items():
        (folder / modality).mkdir(parents=True)
        for image in images:
            if image.name.startswith(names):
                shutil.copyfile(image, folder / modality / image.name)
    return folder


def make_certificate(folder: Path) -> tuple[Path, Path, Path]:
    """Write the certificate of an authority, one for this machine, and its key, all of today."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority_key, key = (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
    )
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "medshare demo authority")])
    authority = (
        _certificate(issuer, issuer, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "medshare demo relay")])
    own_address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    relay = (
        _certificate(subject, issuer, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([own_address]), critical=False)
        .add_extension(authority_id, critical=False)
    )
    ca_file, cert_file, key_file = folder / "ca.pem", folder / "relay.pem", folder / "relay.key"
    for file, builder in ((ca_file, authority), (cert_file, relay)):
        signed = builder.sign(authority_key, hashes.SHA256())
        file.write_bytes(signed.public_bytes(Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return ca_file, cert_file, key_file


def _certificate(
    subject: "x509.Name", issuer: "x509.Name", key: "ec.EllipticCurvePublicKey"
) -> "x509.CertificateBuilder":
    from cryptography import x509

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True, slots=True)
class Place:
    """A machine of the demo: its name, its working folder, and its environment."""

    name: str
    folder: Path
    environment: dict[str, str]

    @classmethod
    def make(cls, name: str, root: Path, **more: str) -> "Place":
        """Make the folder of a machine that shares no settings with the person's own."""
        folder = root / name
        folder.mkdir(mode=0o700)
        outside = {k: v for k, v in os.environ.items() if not k.startswith("MEDSHARE_")}
        if "PYTHONPATH" in outside:  # may be relative, and each place has a folder of its own
            parts = outside["PYTHONPATH"].split(os.pathsep)
            outside["PYTHONPATH"] = os.pathsep.join(str(Path(part).absolute()) for part in parts)
        return cls(name, folder, outside | more)

    def run(self, words: list[str]) -> int:
        """Run `medshare` with *words* here, on the person's terminal; return its exit code."""
        sys.stdout.flush()
        command = [sys.executable, "-m", "medshare", *words]
        return subprocess.run(  # noqa: S603  # our own program
            command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, check=False
        ).returncode


def hospital(name: str, root: Path, *, relay: str, ca_file: Path) -> Place:
    """Make a hospital: a station's home of its own, a passphrase file, and the relay's address."""
    folder = root / name
    place = Place.make(
        name,
        root,
        MEDSHARE_HOME=str(folder / "home"),
        MEDSHARE_PASSPHRASE_FILE=str(folder / "passphrase"),
        MEDSHARE_RELAY=relay,
        MEDSHARE_RELAY_CA=str(ca_file),
    )
    passphrase = folder / "passphrase"
    passphrase.touch(mode=0o600)
    passphrase.write_text(secrets.token_urlsafe(24), encoding="ascii")
    return place


class Relay:
    """A relay in a process of its own, with TLS, on a free port of the loopback interface."""

    def __init__(self, root: Path) -> None:
        self.place = Place.make("relay", root)
        self.ca_file, cert, key = make_certificate(self.place.folder)
        self._log = (self.place.folder / "relay.log").open("wb")
        words = ["relay", "serve", "--data", "data", "--listen", "127.0.0.1:0", "--json"]
        words += ["--tls-cert", cert.name, "--tls-key", key.name]
        self._process = subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-m", "medshare", *words],
            cwd=self.place.folder,
            env=self.place.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        try:
            self.url = self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self) -> str:
        output = self._process.stdout
        line = output.readline() if output is not None else b""
        record = json.loads(line or b"{}")
        if record.get("event") == "error":
            raise UsageError(str(record["message"]), hint=record.get("hint"))
        if record.get("event") != "relay_ready":
            raise MedshareError("the relay of the demo did not start")
        return str(record["url"])

    def stop(self) -> None:
        """End the process; returns when it is gone."""
        self._process.terminate()
        try:
            self._process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._log.close()

    def parcels(self) -> set[str]:
        """Return the ids of the parcels in the store."""
        return {folder.name for folder in (self.place.folder / "data" / "parcels").iterdir()}

    def chunks(self, parcel: str) -> list[Path]:
        """Return the files that hold the chunks of *parcel*, in order."""
        folder = self.place.folder / "data" / "parcels" / parcel / "chunks"
        return sorted(file for file in folder.iterdir() if file.name.isdigit())

    def holds(self, *secrets_of_sender: bytes) -> bool:
        """Tell whether any file of the store holds one of these octet strings."""
        files = (f for f in (self.place.folder / "data").rglob("*") if f.is_file())
        return any(secret in file.read_bytes() for file in files for secret in secrets_of_sender)


def flip_byte(file: Path) -> None:
    """Invert one byte in the middle of *file*, as a failing disk or an attacker would."""
    middle = file.stat().st_size // 2
    try:
        with file.open("r+b") as stream:
            stream.seek(middle)
            (byte,) = stream.read(1)
            stream.seek(middle)
            stream.write(bytes([byte ^ 0xFF]))
    except OSError as error:
        raise StorageError(f"the demo cannot change its own file {file}") from error

"""Suite `gm` and the `openssl` command line: each signs, encrypts and hashes for the other."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.ciphers.algorithms import SM4

from medshare.envelope import parse_envelope
from medshare.suites.base import TAG_SIZE
from medshare.suites.gm import GM, SM4_KEY_SIZE
from medshare.suites.kem import opener_from_seed, wrap
from medshare.suites.signatures import SM2, Verifier, signer_from_seed
from medshare.suites.sm2 import WRAP_LABEL, from_der, to_der
from tests.builder import make_identity, make_parcel, octets, secret

OPENSSL = shutil.which("openssl")
SECRET = secret("openssl", SM2)
SIGNER, OPENER = signer_from_seed(SM2, SECRET), opener_from_seed(SM2, SECRET)
MESSAGE = b"what both sides sign\n" * 3
USER = "distid:1234567812345678"
OID = bytes.fromhex("06082a811ccf5501822d")  # 1.2.156.10197.1.301


@dataclass(frozen=True)
class Tool:
    """The openssl command in a folder, with the test's key in `key.der` and `public.der`."""

    folder: Path

    def __call__(self, *words: str, stdin: bytes = b"") -> bytes:
        done = subprocess.run(
            ["openssl", *words], cwd=self.folder, input=stdin, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def fails(self, *words: str, stdin: bytes = b"") -> bool:
        """Tell whether the command refuses."""
        command = ["openssl", *words]
        done = subprocess.run(
            command, cwd=self.folder, input=stdin, capture_output=True, check=False
        )
        return done.returncode != 0


def knows_sm2() -> bool:
    """Tell whether openssl is there, of version 3, and built with the SM2 curve."""
    if OPENSSL is None:
        return False
    version = subprocess.run(["openssl", "version"], capture_output=True, check=True).stdout
    curves = subprocess.run(["openssl", "ecparam", "-list_curves"], capture_output=True, check=True)
    return version >= b"OpenSSL 3" and b"SM2" in curves.stdout


@pytest.fixture
def openssl(tmp_path: Path) -> Tool:
    """The tool, or a skip that says that it is missing."""
    if not knows_sm2():
        pytest.skip("no openssl 3 with SM2 on this machine: apt-get install openssl")
    private, public = SECRET[:32], b"\x04" + SECRET[32:]
    bits = b"\x03\x42\x00" + public
    key = b"\x02\x01\x01\x04\x20" + private + b"\xa0\x0a" + OID + b"\xa1\x44" + bits
    algorithm = b"\x30\x13" + bytes.fromhex("06072a8648ce3d0201") + OID
    (tmp_path / "key.der").write_bytes(b"\x30" + bytes([len(key)]) + key)
    (tmp_path / "public.der").write_bytes(b"\x30\x59" + algorithm + bits)
    (tmp_path / "message").write_bytes(MESSAGE)
    return Tool(tmp_path)


SIGN = ("pkeyutl", "-sign", "-keyform", "DER", "-inkey", "key.der", "-rawin", "-digest", "sm3")
VERIFY = ("pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "public.der", "-rawin",
          "-digest", "sm3", "-in", "message", "-sigfile", "signature")  # fmt: skip


def test_openssl_verifies_what_we_sign(openssl: Tool) -> None:
    """Our signature, in the DER that openssl reads, is good there with the default user id."""
    raw = SIGNER.sign(MESSAGE)
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    (openssl.folder / "signature").write_bytes(der)
    openssl(*VERIFY, "-pkeyopt", USER)
    assert openssl.fails(*VERIFY, "-pkeyopt", "distid:ALICE123@YAHOO.COM")
    (openssl.folder / "message").write_bytes(MESSAGE + b"x")
    assert openssl.fails(*VERIFY, "-pkeyopt", USER)


def test_we_verify_what_openssl_signs(openssl: Tool) -> None:
    """A signature of openssl is good here once it is r ‖ s."""
    der = openssl(*SIGN, "-in", "message", "-pkeyopt", USER)
    raw = b"".join(number.to_bytes(32) for number in decode_dss_signature(der))
    Verifier(SIGNER.public).verify(raw, MESSAGE, what="it")


def test_openssl_opens_what_we_wrap(openssl: Tool) -> None:
    """The stanza of a parcel, decrypted by openssl alone, holds the binding and the parcel key."""
    station = make_identity("openssl", "gm")
    key = secret("openssl sm2 kem", SM2)
    assert station.openers[0].public.value == key[32:]
    private = (openssl.folder / "key.der").read_bytes().replace(SECRET[:32], key[:32])
    (openssl.folder / "key.der").write_bytes(private.replace(SECRET[32:], key[32:]))
    parcel = make_parcel({"x": b"x"}, sender=station, recipients=[], label="openssl")
    envelope = parse_envelope(parcel.envelope)
    info = b"medshare/1 wrap\0" + envelope.parcel + envelope.sender + station.station
    (openssl.folder / "wrapped").write_bytes(to_der(envelope.recipients[0].wrapped))
    plain = openssl("pkeyutl", "-decrypt", "-keyform", "DER", "-inkey", "key.der", "-in", "wrapped")
    assert plain == GM.digest(WRAP_LABEL, info).value + parcel.key.value


def test_we_open_what_openssl_wraps(openssl: Tool) -> None:
    """What openssl encrypts, with the digest of the purpose before it, unwraps here."""
    (openssl.folder / "plain").write_bytes(GM.digest(WRAP_LABEL, b"purpose").value + b"k" * 32)
    words = ("pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", "public.der")
    wrapped = from_der(openssl(*words, "-in", "plain"))
    assert OPENER.unwrap(wrapped, info=b"purpose") == b"k" * 32
    assert len(wrapped) == len(wrap(OPENER.public, b"k" * 32, info=b"purpose"))


def test_both_make_the_same_digests_and_keys(openssl: Tool) -> None:
    """SM3 and HKDF-SM3 of openssl are those of the suite."""
    assert openssl("dgst", "-sm3", "-binary", "message") == GM.digest(MESSAGE).value
    derived = openssl(
        "kdf", "-keylen", "32", "-binary", "-kdfopt", "digest:SM3",
        "-kdfopt", f"hexkey:{octets('key').hex()}",
        "-kdfopt", f"hexinfo:{b'purpose'.hex()}", "HKDF",
    )  # fmt: skip
    assert derived == GM.derive(octets("key"), info=b"purpose")


def test_both_encrypt_alike(openssl: Tool) -> None:
    """The ciphertext of SM4-GCM is SM4 in counter mode from 2 on, as openssl counts it."""
    key, nonce = octets("sm4"), octets("nonce", 12)
    out = bytearray(len(MESSAGE) + TAG_SIZE)
    GM.aead(key).encrypt_into(nonce, MESSAGE, b"", memoryview(out))
    words = ("enc", "-sm4-ctr", "-K", key[:SM4_KEY_SIZE].hex(), "-iv", (nonce + b"\0\0\0\2").hex())
    assert openssl(*words, "-in", "message") == out[:-TAG_SIZE]
    assert SM4.key_sizes == frozenset({8 * SM4_KEY_SIZE})

"""The worked example of docs/format.md §15 is what the library, and plain primitives, compute."""

import re
from pathlib import Path

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medshare.manifest import FileEntry, Manifest
from tests.independent_values import Intl
from tests.vector_files import all_vectors

TEXT = (Path(__file__).parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
VECTOR = next(vector for vector in all_vectors() if vector.name == "one-small-file")


def example() -> dict[str, bytes]:
    """Return the named octets of the example."""
    values: dict[str, str] = {}
    name = ""
    for line in TEXT.split("## 15.")[1].splitlines():
        found = re.fullmatch(r"([a-z][a-z ]*[a-z])?  +([0-9a-f ]+)", line)
        if found:
            name = found[1] or name
            values[name] = values.get(name, "") + found[2]
    return {name: bytes.fromhex(value) for name, value in values.items()}


E = example()
LABEL = b"medshare/1 "
PAYLOAD = E["encoded"] + E["piece digest"] + E["trailer"]


def test_the_example_is_read() -> None:
    """All values are found, so that nothing below passes for want of them."""
    assert len(E) == 18
    assert len(E["ciphertext"]) == len(PAYLOAD) == 60
    assert len(E["manifest"]) == 61


@pytest.mark.parametrize(
    ("name", "purpose"),
    [("content key", b"content"), ("nonce key", b"nonce"), ("commitment", b"commitment")],
)
def test_keys_follow_from_the_parcel_key(name: str, purpose: bytes) -> None:
    """Each derived key is HKDF of the parcel key, label, purpose and parcel id (§6.3)."""
    assert Intl().kdf(E["parcel key"], LABEL + purpose + b"\0" + E["parcel id"]) == E[name]


def test_the_manifest_is_the_one_shown() -> None:
    """The manifest's octets encode the file of the example (§4.1)."""
    manifest = Manifest((FileEntry("hello.txt", 12, 1_750_000_000 * 10**9),))
    assert manifest.encode() == E["manifest"]


def test_the_nonce_follows_from_header_and_tail() -> None:
    """The nonce is the beginning of the function of §6.4."""
    tail = blake3(E["piece digest"] + E["trailer"]).digest()
    assert E["info"] == LABEL + b"nonce\0" + E["header"]
    assert Intl().kdf(E["nonce key"], E["info"] + tail)[:12] == E["nonce"]


def test_the_ciphertext_is_gcm() -> None:
    """Ciphertext and tag are those of AES-256-GCM over payload and header (§6.1, §6.2)."""
    assert blake3(E["encoded"]).digest() == E["piece digest"]
    head = E["header"] + E["nonce"]
    sealed = AESGCM(E["content key"]).encrypt(E["nonce"], PAYLOAD, head)
    assert sealed == E["ciphertext"] + E["tag"]
    assert blake3(head + sealed).digest() == E["digest"]


def test_the_signature_is_ed25519() -> None:
    """The chunk key signs label, parcel, index and digest (§6.5)."""
    key = Ed25519PrivateKey.from_private_bytes(E["chunk key seed"])
    assert key.public_key().public_bytes_raw() == E["chunk key"]
    message = LABEL + b"chunk\0" + E["parcel id"] + bytes(4) + E["digest"]
    assert key.sign(message) == E["signature"]


def test_the_chunk_is_in_the_vectors() -> None:
    """The parts of the example, in order, are the chunk of the vector that it names."""
    parts = ("header", "nonce", "ciphertext", "tag", "signature")
    assert b"".join(E[name] for name in parts) == VECTOR.chunks[0]
    assert E["commitment"] in VECTOR.envelope
    assert E["digest"] in VECTOR.seal

"""A second reading of docs/format.md: parcel folder in, files out.  Imports nothing of medshare.

    python -m tests.independent_decoder FOLDER --card FILE --station ID --seed KEY
        [--kem NAME] --output DIR

Written from the specification alone, with cryptography, gmalglib, blake3, zstandard and
cbor2, and meant to be read beside it: each function names its section.  Ends with 0, or
with 3 and one line `kind: reason` on standard error, kind being one of §1.5.
"""

import argparse
import hmac
import re
import sys
import unicodedata
from pathlib import Path
from typing import Any

import cbor2
import zstandard
from cryptography.exceptions import InvalidTag

from tests.independent_grants import addressed, critical, lineage
from tests.independent_keys import KEM, KINDS
from tests.independent_planes import plain_of
from tests.independent_values import (
    KEY_SIZES,
    MIB,
    RefusedError,
    Suite,
    check,
    decode,
    fields,
    identity,
    need,
    pair_of,
    point,
    refuse,
    suite_named,
    time,
    unpack,
    verify,
    within,
)

# --- §4: manifest -------------------------------------------------------------------------

IGNORED = re.compile("[\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]")
FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"
DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9])( *\..*)?", re.IGNORECASE | re.DOTALL
)


def part(name: str) -> None:
    """Check one part of a path (§4.2)."""
    need(name and name[0] != "." and name[-1] not in " .", "format", "rules 1 to 3")
    need(not re.search(r'[<>:"|?*\\\x00-\x1f\x7f]', name), "format", "rule 4")
    need(not DEVICE.fullmatch(name) and len(name.encode()) <= 255, "format", "rules 5 and 6")
    if name.isascii():
        return
    visible = IGNORED.sub("", name)
    folded = unicodedata.normalize("NFKC", visible)
    hidden = any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for c in visible)
    need(not hidden and not set(visible) & set(FILLERS), "format", "rule 7")
    need(folded and folded[0] != "." and not set(folded) & {"/", "\\"}, "format", "rule 8")
    need(visible[-1] not in " ." and not DEVICE.fullmatch(folded), "format", "rule 9")


def key_of(path: str) -> str:
    """Return the collision key of a path (§4.3)."""
    parts = (unicodedata.normalize("NFD", IGNORED.sub("", one)) for one in path.split("/"))
    return "/".join(unicodedata.normalize("NFC", one.casefold()) for one in parts)


def paths(listed: list[str]) -> None:
    """Check all paths of a manifest (§4.2, §4.3)."""
    entries: set[str] = set()
    folders: dict[str, str] = {}
    for path in listed:
        parts = path.split("/")
        need(len(path.encode()) <= 1024 and len(parts) <= 32, "format", "length of a path")
        for name in parts:
            part(name)
        need(key_of(path) not in entries, "format", "two entries with one key")
        entries.add(key_of(path))
        for count in range(1, len(parts)):
            folder = "/".join(parts[:count])
            need(folders.setdefault(key_of(folder), folder) == folder, "format", "spelling")
    need(not entries & folders.keys(), "format", "a file as a folder")


def unseal(suite: Suite, sealed: bytes, key: bytes, parcel: bytes, most: int) -> bytes:
    """Open a sealed manifest (§4.4)."""
    need(len(sealed) >= 28, "format", "too short")
    try:
        packed = suite.open(key, sealed[:12], sealed[12:], parcel)
    except InvalidTag:
        refuse("integrity", "the manifest does not authenticate")
    try:
        size = zstandard.frame_content_size(packed)
        need(size >= 0, "format", "no content size")
        need(size <= most, "format.limit", "too large a manifest")
        opener = zstandard.ZstdDecompressor()
        return opener.decompress(packed, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        refuse("format", str(error))


def manifest(data: bytes) -> tuple[list[tuple[str, int]], list[str]]:
    """Read a manifest (§4.1); return files with sizes, and empty folders."""
    types = {"files": list, "folders": list, "note": str}
    value = fields(decode(data, 32 * MIB, 659456), types)
    files, folders = value["files"], value["folders"]
    need(len(files) <= 131072 and len(folders) <= 131072, "format.limit", "number of files")
    need(len(value["note"].encode()) <= 4096, "format.limit", "length of the note")
    need(files or folders, "format", "nothing listed")
    for entry in files:
        shape = isinstance(entry, list) and [type(item) for item in entry] == [str, int, int]
        need(shape, "format", "a file")
        within(entry[1], 0, 1 << 41)
        within(entry[2], 0, (1 << 63) - 1)
    need(all(isinstance(folder, str) for folder in folders), "format", "a folder")
    paths([entry[0] for entry in files] + folders)
    return [(path, size) for path, size, _ in files], folders


def layout(sizes: list[int], chunk_size: int) -> list[list[int]]:
    """Cut the stream (§5.1): for each chunk, the sizes of its pieces."""
    need(sum(sizes) <= 131072 * chunk_size, "format.limit", "too many chunks")
    chunks: list[list[int]] = []
    room = 0
    for size in sizes:
        left = size
        while left:
            if room == 0 or len(chunks[-1]) == 4096:
                chunks.append([])
                room = chunk_size
            step = min(left, room)
            chunks[-1].append(step)
            left, room = left - step, room - step
    return chunks


# --- §6: chunks ---------------------------------------------------------------------------


def opened(suite: Suite, chunk: bytes, key: bytes, pieces: list[int], chunk_size: int) -> bytes:
    """Decrypt a checked chunk; check and return its plaintext (§6.2)."""
    try:
        payload = suite.open(key, chunk[32:44], chunk[44:-64], chunk[:44])
    except InvalidTag:
        refuse("integrity", "a chunk does not authenticate")
    trailer = payload[-16:]
    plain, size, count = (int.from_bytes(trailer[at : at + 4]) for at in (0, 4, 8))
    need(trailer[13:] == bytes(3), "format.version", "reserved octets")
    need(plain == sum(pieces) and count == len(pieces), "integrity", "place in the layout")
    end = len(payload) - 16 - 32 * count
    need(size <= end and size <= plain, "format", "lengths")
    need(not payload[size:end].strip(b"\0"), "format", "padding")
    content = plain_of(trailer[12], payload[:size], plain, chunk_size)
    at = 0
    for number, piece in enumerate(pieces):
        digest = payload[end + 32 * number : end + 32 * number + 32]
        need(suite.h(content[at : at + piece]) == digest, "integrity", "a piece")
        at += piece
    return content


def place(chunk: bytes, index: int, envelope: Any) -> bytes:
    """Check a chunk without any key (§12.1, step 4); return its digest."""
    need(len(chunk) >= 44 + 32 + 64, "format", "too short a chunk")
    need(len(chunk) <= envelope["chunk_size"] + 131212, "format.limit", "too large a chunk")
    if chunk[:4] != b"MSC1":
        refuse("format.version" if chunk[:3] == b"MSC" else "format", "magic")
    need(chunk[4] <= 1 and chunk[5:8] == bytes(3), "format.version", "reserved bits")
    need(int.from_bytes(chunk[28:32]) == len(chunk) - 108, "format", "length")
    need(chunk[8:24] == envelope["parcel"], "integrity", "another parcel")
    need(int.from_bytes(chunk[24:28]) == index, "integrity", "another place")
    last = index == envelope["chunk_count"] - 1
    need(bool(chunk[4]) == last, "integrity", "the end")
    suite = suite_named(envelope["suite"])
    digest = suite.h(chunk[:-64])
    message = b"medshare/1 chunk\0" + envelope["parcel"] + index.to_bytes(4) + digest
    check(suite.chunk_key, envelope["chunk_key"][1], chunk[-64:], message)
    return digest


# --- §7, §8, §10: envelope, seal, card ----------------------------------------------------

ENVELOPE = {
    "parcel": 16, "suite": str, "created": int, "delete_after": int, "tier": str, "sender": 32,
    "sender_keys": list, "recipients": list, "chunk_size": int, "chunk_count": int,
    "chunk_key": list, "commitment": 32, "manifest_size": int, "manifest_digest": 32,
}  # fmt: skip


def read_envelope(data: bytes) -> Any:
    """Read and verify an envelope (§7.1)."""
    body, signatures = unpack(data, "envelope", MIB)
    value = fields(decode(body, MIB, 4096), ENVELOPE, extended=True)
    said = critical(value["critical"])
    suite = suite_named(value["suite"])
    keys = identity(value["sender_keys"])
    time(value["created"])
    time(value["delete_after"])
    need(re.fullmatch("[a-z0-9-]{1,32}", value["tier"]), "format", "tier")
    within(value["chunk_size"], 1024, 16 * MIB)
    within(value["chunk_count"], 0, 131072)
    within(value["manifest_size"], 1, 8 * MIB)
    name, key = pair_of(value["chunk_key"], 4096)
    need(name == suite.chunk_key and len(key) == KEY_SIZES[name], "format", "chunk key")
    if name == "sm2":
        point(key)
    stanzas(value["recipients"])
    addressed(value, said)
    verify("envelope", body, signatures, keys)
    return value


def stanzas(listed: list[Any]) -> None:
    """Check the form of all stanzas (§7.2)."""
    need(len(listed) <= 64, "format.limit", "number of recipients")
    need(listed, "format", "no recipient")
    for one in listed:
        shape = isinstance(one, list) and [type(i) for i in one] == [bytes, str, bytes, bytes]
        need(shape and len(one[0]) == 32 and len(one[2]) == 16, "format", "a stanza")
        need(len(one[1].encode()) <= 32 and len(one[3]) <= 4096, "format", "a stanza")
    need(len({(one[0], one[2]) for one in listed}) == len(listed), "format", "named twice")


def read_seal(data: bytes, envelope: Any, envelope_digest: bytes) -> list[bytes]:
    """Read and verify a seal (§8); return the digests of all chunks."""
    most = 32 * 131072 + 65536
    body, signatures = unpack(data, "seal", most)
    verify("seal", body, signatures, [tuple(key) for key in envelope["sender_keys"]])
    count = envelope["chunk_count"]
    types = {"parcel": 16, "envelope": 32, "manifest": 32, "chunks": 32 * count, "sealed": int}
    value = fields(decode(body, most, 4096), types)
    time(value["sealed"])
    same = (value["parcel"], value["envelope"]) == (envelope["parcel"], envelope_digest)
    need(same and value["manifest"] == envelope["manifest_digest"], "integrity", "another parcel")
    return [value["chunks"][32 * index : 32 * index + 32] for index in range(count)]


def read_card(data: bytes) -> tuple[bytes, list[Any]]:
    """Read a card (§10); return station id and the signature keys of each generation."""
    label, entries = decode(data, 16 * MIB, 259)
    need(label == "medshare/1 cards" and 1 <= len(entries) <= 256, "format", "a card")
    station = b""
    before: list[tuple[str, bytes]] = []
    all_keys = []
    types = {
        "station": 32, "generation": int, "name": str, "suite": str, "created": int,
        "sign_keys": list, "kem_keys": list,
    }  # fmt: skip
    for number, entry in enumerate(entries):
        body, signatures = unpack(entry, "card", 65536)
        value = fields(decode(body, 65536, 1024), types)
        keys = identity(value["sign_keys"])
        if number == 0:
            listing = cbor2.dumps([list(key) for key in keys], canonical=True)
            station = suite_named(value["suite"]).h(b"medshare/1 station\0" + listing)
        place = (value["generation"], value["station"]) == (number, station)
        need(place, "authenticity", "chain of the card")
        verify("card", body, signatures, keys + before)
        before = keys
        all_keys.append(keys)
    return station, all_keys


# --- §12: a whole parcel ------------------------------------------------------------------


def unwrap(envelope: Any, station: bytes, kem: str, seed: bytes) -> bytes:
    """Find the own stanza and unwrap the parcel key (§7.3, §12.2 step 3)."""
    suite = suite_named(envelope["suite"])
    own = KINDS[kem](seed)
    name = suite.h(kem.encode() + b"\0" + own.public)[:16]
    ours = [s for s in envelope["recipients"] if s[:3] == [station, kem, name]]
    need(ours, "key.not-addressed", "no stanza for this key")
    info = b"medshare/1 wrap\0" + envelope["parcel"] + envelope["sender"] + station
    key = own.open(ours[0][3], info)
    need(len(key) == 32, "integrity", "length of the parcel key")
    found = suite.kdf(key, b"medshare/1 commitment\0" + envelope["parcel"])
    need(hmac.compare_digest(found, envelope["commitment"]), "integrity.digest", "commitment")
    return key


def content(
    folder: Path, card: bytes, station: bytes, seed: bytes, kem: str = KEM
) -> tuple[list[tuple[str, bytes]], list[str]]:
    """Open a parcel folder (§12.2); return its files and its empty folders."""
    octets = (folder / "envelope").read_bytes()
    envelope = read_envelope(octets)
    sender, keys = read_card(card)
    known = [tuple(key) for key in envelope["sender_keys"]] in keys
    need(sender == envelope["sender"] and known, "authenticity.untrusted", "the sender")
    lineage(envelope, read_envelope)
    suite = suite_named(envelope["suite"])
    key = unwrap(envelope, station, kem, seed)
    sealed = (folder / "manifest").read_bytes()
    need(len(sealed) == envelope["manifest_size"], "integrity", "size of the manifest")
    need(suite.h(sealed) == envelope["manifest_digest"], "integrity.digest", "the manifest")
    parcel = envelope["parcel"]
    secret = suite.kdf(key, b"medshare/1 manifest\0" + parcel)
    plain = unseal(suite, sealed, secret, parcel, 32 * MIB)
    files, folders = manifest(plain)
    chunks = layout([size for _, size in files], envelope["chunk_size"])
    need(len(chunks) == envelope["chunk_count"], "integrity", "number of chunks")
    need((folder / "seal").exists(), "integrity.incomplete", "no seal")
    digests = read_seal((folder / "seal").read_bytes(), envelope, suite.h(octets))
    stream = b"".join(open_all(folder / "chunks", envelope, digests, chunks, key))
    made, at = [], 0
    for path, size in files:
        made.append((path, stream[at : at + size]))
        at += size
    return made, folders


def open_all(
    folder: Path, envelope: Any, digests: list[bytes], chunks: list[list[int]], key: bytes
) -> list[bytes]:
    """Check all chunks against the seal (§12.1 step 4), then decrypt them."""
    present = sorted(folder.iterdir()) if folder.exists() else []
    names = [f"{index:08d}" for index in range(len(digests))]
    missing = set(names) - {file.name for file in present}
    need(not missing, "integrity.incomplete", "a chunk is missing")
    need([file.name for file in present] == names, "integrity", "a chunk beyond the end")
    octets = [file.read_bytes() for file in present]
    for index, chunk in enumerate(octets):
        same = place(chunk, index, envelope) == digests[index]
        need(same, "integrity.digest", "not the sealed chunk")
    suite = suite_named(envelope["suite"])
    secret = suite.kdf(key, b"medshare/1 content\0" + envelope["parcel"])
    return [
        opened(suite, chunk, secret, chunks[index], envelope["chunk_size"])
        for index, chunk in enumerate(octets)
    ]


def main() -> int:
    """Decode the parcel named on the command line."""
    parser = argparse.ArgumentParser(description="decode a parcel folder")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument("--station", type=bytes.fromhex, required=True)
    parser.add_argument("--seed", type=bytes.fromhex, required=True)
    parser.add_argument("--kem", default=KEM)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    try:
        card = asked.card.read_bytes()
        files, folders = content(asked.folder, card, asked.station, asked.seed, asked.kem)
    except RefusedError as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 3
    for path in folders:
        (asked.output / path).mkdir(parents=True)
    for path, data in files:
        (asked.output / path).parent.mkdir(parents=True, exist_ok=True)
        (asked.output / path).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""audit.proof: one entry and its proof in one file, checked with the keys alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medshare.audit.checkpoint import Checkpoint, LogKeys, sign_checkpoint
from medshare.audit.merkle import consistency_proof, inclusion_proof, nodes_of, root_of
from medshare.audit.proof import (
    EntryProof,
    Shown,
    is_proof,
    is_shown,
    parse_proof,
    parse_shown,
    verified_proof,
)
from medshare.errors import AuditError, FormatError, MedshareError, UntrustedSignerError
from medshare.suites.signatures import signer_from_seed
from tests.audit_case import Log, altered

SIZE = 21
NAME = "medshare/log/test"
SIGNER = signer_from_seed("ed25519", bytes(32))
KEYS = LogKeys(NAME, ((SIGNER.public,),))
LOG = Log.of(SIZE)
NODES = nodes_of(LOG.leaves)
POINT = Checkpoint(NAME, SIZE, root_of(LOG.leaves))
NOTE = sign_checkpoint(POINT, [SIGNER])


def proof_of(index: int) -> EntryProof:
    """The proof for one entry of the record of these tests."""
    path = inclusion_proof(NODES, index, SIZE)
    return EntryProof(LOG.entries[index], index, path, NOTE.encode())


@pytest.mark.parametrize("index", range(SIZE))
def test_each_entry_is_proved_by_its_file(index: int) -> None:
    """The file of each entry is read back, and shows that entry in that record."""
    data = proof_of(index).encode()
    assert is_proof(data)
    found = parse_proof(data)
    assert found == proof_of(index)
    entry, point = verified_proof(found, KEYS)
    assert (entry.number, point) == (index, POINT)
    assert entry.encode() == LOG.entries[index]


@given(st.integers(0, SIZE - 1), st.integers(0), st.integers(1, 255))
def test_any_changed_octet_is_refused(index: int, place: int, change: int) -> None:
    """A proof file with one octet changed proves nothing."""
    data = bytearray(proof_of(index).encode())
    data[place % len(data)] ^= change
    with pytest.raises(MedshareError) as caught:
        verified_proof(parse_proof(bytes(data)), KEYS)
    assert isinstance(caught.value, MedshareError)


def test_another_entry_is_not_proved() -> None:
    """Neither another entry, nor this one under another number or path, is proved."""
    good = proof_of(5)
    for wrong in (
        replace(good, entry=LOG.entries[6]),
        replace(good, entry=altered(good.entry)),
        replace(good, index=6),
        replace(good, path=good.path[1:]),
        replace(good, entry=LOG.entries[6], index=6),
    ):
        with pytest.raises(AuditError) as caught:
            verified_proof(wrong, KEYS)
        assert caught.value.code == "audit.inclusion"


def test_a_proof_about_somebody_else_is_refused() -> None:
    """The keys of another record do not accept it."""
    with pytest.raises(UntrustedSignerError):
        verified_proof(proof_of(5), LogKeys("medshare/log/other", KEYS.sets))


@pytest.mark.parametrize("old", [0, 1, 8, 20, 21])
def test_what_a_witness_is_shown_survives_its_file(old: int) -> None:
    """The file for a witness is read back as it was written."""
    shown = Shown(old, consistency_proof(NODES, old, SIZE), POINT, NOTE)
    data = shown.encode()
    assert is_shown(data)
    assert parse_shown(data) == shown


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + NOTE.encode(),
        b"c2sp.org/tlog-proof@v1\nextra AA==\nindex 00\n\n" + NOTE.encode(),
        b"c2sp.org/tlog-proof@v2\nextra AA==\nindex 0\n\n" + NOTE.encode(),
        b"c2sp.org/tlog-proof@v1\nextra AA==\nindex 0\nAA==\n\n" + NOTE.encode(),
        b"c2sp.org/tlog-proof@v1\nextra AA\nindex 0\n\n" + NOTE.encode(),
        b"c2sp.org/tlog-proof@v1\nextra \xc3\xa4\nindex 0\n\n" + NOTE.encode(),
        b"c2sp.org/tlog-proof@v1\n" + b"x" * 400_000,
    ],
)
def test_what_is_no_proof_is_refused(data: bytes) -> None:
    """A file that is not written exactly as a proof must be is not read."""
    with pytest.raises(FormatError):
        parse_proof(data)


@pytest.mark.parametrize("first", [b"new 0\n\n", b"old -1\n\n", b"old 0\nAA==\n\n", b"old 0\n"])
def test_what_is_not_for_a_witness_is_refused(first: bytes) -> None:
    """A file that is not written exactly as a witness expects is not read."""
    with pytest.raises(FormatError):
        parse_shown(first + NOTE.encode())

"""The fuzzer: a little of it each time, and the proof that it finds what is broken."""

import random
import re

import pytest

from medshare.errors import FormatError, UsageError
from tests.attacks.fuzz import Target, fuzz, judge
from tests.attacks.fuzz_targets import all_targets
from tests.attacks.mutate import mutated, odd_cbor
from tests.conftest import ROOT

TARGETS = {target.name: target for target in all_targets()}
FEW = 200
SEEDS = (b'{"a": 1}', b"\xa1\x61a\x01")


DECODER = re.compile(r"^def ((?:parse|decode)_\w+)\(", re.MULTILINE)
THROUGH = {
    "parse_access": "policy",
    "parse_byte_sequence": "signature fields",
    "parse_head": "codec 2",
    "parse_note": "checkpoint",
    "parse_order": "proposal signed anew",
    "parse_policy": "policy",
    "parse_revocation": "card signed anew",
    "parse_runs": "codec 2",
    "parse_span": "policy",
    "parse_trailer": "chunk",
}
"""Decoders of parts of something, and the target that reaches them."""


def test_every_decoder_is_a_target() -> None:
    """Whatever is named parse or decode is fed with damage, by itself or as a part."""
    source = "".join(file.read_text("utf-8") for file in (ROOT / "tests/attacks").glob("fuzz_*.py"))
    decoders = {
        name
        for file in (ROOT / "src").rglob("*.py")
        for name in DECODER.findall(file.read_text("utf-8"))
    }
    assert {name for name in decoders if not re.search(rf"\b{name}\b", source)} == set(THROUGH)
    assert set(THROUGH.values()) <= set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_is_refused_in_a_documented_way(name: str) -> None:
    """Nothing but the errors that it documents comes out of a decoder, within bounded means."""
    target = TARGETS[name]
    outcome = fuzz(target, random.Random(1), executions=len(target.seeds) + FEW)
    assert outcome.findings == []
    assert outcome.executions == len(target.seeds) + FEW


@pytest.mark.parametrize("name", TARGETS)
def test_the_examples_reach_behind_the_first_check(name: str) -> None:
    """Each decoder accepts one of its examples: what is damaged was good before."""
    target = TARGETS[name]
    assert "accepted" in {judge(target, seed)[0] for seed in target.seeds}


def _broken(data: bytes) -> None:
    if data.count(b"\xff") > 0:
        raise IndexError("a planted bug")
    raise FormatError("this is the refusal that is documented")


def _undocumented(data: bytes) -> None:
    raise UsageError("this is not")


def _slow(data: bytes) -> None:
    while True:
        pass


def _hungry(data: bytes) -> None:
    bytearray(b"x") * (1 << 30)


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (_broken, "IndexError: a planted bug"),
        (_undocumented, "refused as UsageError, which is not documented"),
        (_slow, "took more than 0.05 s"),
        (_hungry, "took more than 98304 KiB of memory"),
    ],
)
def test_a_planted_bug_is_found(read: object, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash, a refusal of the wrong kind, a hang and an appetite are each reported."""
    assert callable(read)
    if read is _slow:
        monkeypatch.setattr("tests.attacks.fuzz.MAX_CPU_SECONDS", 0.05)
    target = Target("planted", read, SEEDS, (FormatError,))
    outcome = fuzz(target, random.Random(1), executions=400 if read is _broken else 1)
    assert outcome.findings
    assert outcome.findings[0]["fault"] == fault
    if read is _broken:
        assert b"\xff" in bytes.fromhex(outcome.findings[0]["input"])


def test_the_damage_is_the_same_for_the_same_seed() -> None:
    """What broke can be repeated from the seed in the report."""
    once, again = (
        [mutated(SEEDS[1] * 9, rng, SEEDS[0]) for _ in range(200)]
        for rng in (random.Random(7), random.Random(7))
    )
    assert once == again
    assert len(set(once)) > 100


def test_cbor_is_changed_inside() -> None:
    """A change of one value leaves CBOR that can be read, so that it gets behind the syntax."""
    changed = {odd_cbor(SEEDS[1], random.Random(seed)) for seed in range(60)}
    assert len(changed) > 20
    assert odd_cbor(b"\xff", random.Random(1)) is None

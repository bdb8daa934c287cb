"""The vectors of chains: each ends in success, or in the rule that it breaks."""

import json
from pathlib import Path

import pytest

from medshare.envelope import parse_envelope
from medshare.errors import GrantError
from medshare.trust.lineage import chain_of, require_lawful
from tests.independent_decoder import read_envelope
from tests.independent_grants import lineage
from tests.independent_values import RefusedError
from tests.vector_files import FOLDER, STATIONS, SUFFIX, Vector, load

VECTORS = {file.stem: load(file) for file in sorted((FOLDER / "lineage").glob(f"*{SUFFIX}"))}
RULES = {"success", "grant.lineage", "grant.act", "grant.late", "grant.wider"}
PAGE = Path(__file__).parents[1] / "docs" / "format.md"


def test_all_chains_are_there() -> None:
    """No vector is lost, and each rule of the specification has one."""
    assert len(VECTORS) == 20
    assert {one.expect for one in VECTORS.values()} == RULES
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"`{rule}`" in page for rule in RULES - {"success"})


def ends_here(vector: Vector) -> str:
    """Return how a chain is read."""
    try:
        require_lawful(parse_envelope(vector.envelope))
    except GrantError as error:
        return error.code
    return "success"


@pytest.mark.parametrize("name", VECTORS)
def test_a_chain_ends_as_stated(name: str) -> None:
    """Lawful chains are accepted, and others refused by exactly the stated rule."""
    assert ends_here(VECTORS[name]) == VECTORS[name].expect


def ends_there(vector: Vector) -> str:
    """Return how the second implementation reads a chain."""
    try:
        lineage(read_envelope(vector.envelope), read_envelope)
    except RefusedError as error:
        return str(error).partition(":")[0]
    return "success"


@pytest.mark.parametrize("name", VECTORS)
def test_a_second_implementation_agrees(name: str) -> None:
    """Written from the page alone, it accepts and refuses the same chains for the same reason."""
    assert ends_there(VECTORS[name]) == VECTORS[name].expect


def test_the_stations_of_chains_are_known() -> None:
    """The first envelope of each chain is by a station whose card is beside the vectors."""
    cards = {bytes.fromhex(one["station"]) for one in json.loads(STATIONS.read_text()).values()}
    good = [one for one in VECTORS.values() if one.expect == "success"]
    for vector in good:
        assert {one.sender for one in chain_of(parse_envelope(vector.envelope))} <= cards

"""The measuring programs do the work whose price they print."""

import sys

import pytest

from benchmarks import floor, measure
from benchmarks.measure import MIB, Program

HUNGRY = """
import subprocess, sys, time
held = bytearray(64 << 20)
end = time.process_time() + 0.2
while time.process_time() < end:
    pass
if len(sys.argv) > 1:
    subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
"""


@pytest.mark.service
def test_the_floor_moves_the_whole_file() -> None:
    """Both ends of the floor have hashed the same content, and every octet crossed the wire."""
    size = 9 * MIB + 1
    figures = floor.run(size, workers=2, runs=1)
    [run] = figures["runs"]
    assert size < run["wire_bytes"] < size * 1.02
    assert 0 < run["cpu"] <= run["cpu_with_startup"]
    assert 0 < run["wall"] <= run["wall_with_startup"]


def test_costs_include_those_of_children() -> None:
    """CPU time is the sum over a program and its children, memory that of the largest."""
    alone = Program("alone", [sys.executable, "-c", HUNGRY]).wait()
    both = Program("both", [sys.executable, "-c", HUNGRY, HUNGRY]).wait()
    assert alone.cpu >= 0.2
    assert both.cpu >= 0.4
    assert alone.peak_rss > 64 * MIB


def test_a_failed_program_is_no_figure() -> None:
    """A benchmark whose program failed ends with an error."""
    programs = [Program("bad", [sys.executable, "-c", "raise SystemExit(3)"])]
    with pytest.raises(RuntimeError, match="bad ended with 3"):
        measure.wait_for_all(programs)


def test_a_program_ends_with_its_block() -> None:
    """A server that would run for ever is stopped, and its costs are known."""
    with Program("server", [sys.executable, "-c", "import time; time.sleep(600)"]) as server:
        pass
    assert server.wait().returncode != 0


@pytest.mark.parametrize(
    ("text", "size"), [("17", 17), ("64KiB", 65536), ("1GiB", 2**30), ("1.5MiB", 1572864)]
)
def test_sizes_are_read_in_binary_units(text: str, size: int) -> None:
    """A size is a number of octets, or a number with a binary unit."""
    assert floor.size_in_bytes(text) == size

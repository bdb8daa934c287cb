"""benchmarks.audit: it makes the record whose price it prints, and notices when it is another."""

from pathlib import Path

import pytest

from benchmarks import audit


def test_the_benchmark_audits_what_it_made(tmp_path: Path) -> None:
    """All figures are there, and the record is that of so many entries."""
    figures = audit.run(1500, tmp_path / "audit")
    assert figures["entries"] == 1500
    assert figures["octets"] > 1500 * 200
    assert {"audit_seconds", "prove_ms", "record_ms", "checkpoint_ms"} <= figures.keys()
    assert audit.index(tmp_path / "audit").keys() == {"build_seconds", "search_ms"}
    with pytest.raises(RuntimeError, match="another record"):
        audit.audit(tmp_path / "audit", 1500)

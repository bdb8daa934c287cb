"""The benchmark of small files moves the files whose price it prints."""

from pathlib import Path

from benchmarks import small_files


def test_every_file_arrives(tmp_path: Path) -> None:
    """As many files as asked for are under their final names, and every step has a price."""
    figures = small_files.run(250, 10, tmp_path)
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 250
    assert (tmp_path / "out/study/series 1/IM-0049.dcm").stat().st_size == 10
    assert {"scan", "prepare", "flush", "place"} <= figures["seconds"].keys()

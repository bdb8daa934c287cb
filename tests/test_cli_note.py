"""The note of a sender: typed, or from a file that nobody else sees."""

import io
import sys
from pathlib import Path

import pytest

from medshare.commands.note import note_of
from medshare.errors import LimitError, MedshareError, UsageError
from medshare.manifest import MAX_NOTE


def test_a_typed_note_is_the_note() -> None:
    """Without a file, what was typed counts."""
    assert note_of("as typed", None) == "as typed"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_note_comes_from_a_file(tmp_path: Path, ending: str) -> None:
    """The content of the file is the note, without the end of its last line."""
    (tmp_path / "note").write_bytes(f"for Dr Müller\nurgent{ending}".encode())
    assert note_of("", tmp_path / "note") == "for Dr Müller\nurgent"


def test_a_note_comes_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hyphen means what another program writes, up to the limit of a note."""
    for size, fits in ((MAX_NOTE, True), (MAX_NOTE + 1, False)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"n" * size)))
        if fits:
            assert note_of("", Path("-")) == "n" * size
        else:
            with pytest.raises(LimitError):
                note_of("", Path("-"))


def test_what_is_no_note_is_refused(tmp_path: Path) -> None:
    """Two notes, no text, too much text, and no file at all: each is an error of ours."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "long").write_bytes(b"n" * (MAX_NOTE + 1))
    with pytest.raises(UsageError):
        note_of("typed", tmp_path / "binary")
    for name in ("binary", "long", "nothing"):
        with pytest.raises(MedshareError):
            note_of("", tmp_path / name)

"""The sender's note: from the command line, or from where nobody else on the machine sees it."""

import sys
from pathlib import Path
from typing import Final

from medshare.errors import UsageError

_STDIN: Final = "-"


def note_of(text: str, file: Path | None) -> str:
    """Return *text*, or what *file* holds (`-` is stdin) without the last line ends.

    Raises UsageError when both are given or it is not text, LimitError when it is too long,
    StorageError when it cannot be read.
    """
    if file is None:
        return text
    if text:
        raise UsageError("give --note or --note-file, not both")
    from medshare.disk.atomic import read_file
    from medshare.errors import LimitError
    from medshare.manifest import MAX_NOTE

    if str(file) != _STDIN:
        octets = read_file(file, limit=MAX_NOTE, what="the note")
    elif len(octets := sys.stdin.buffer.read(MAX_NOTE + 1)) > MAX_NOTE:
        raise LimitError(f"a note has at most {MAX_NOTE} bytes")
    try:
        return octets.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UsageError("the note is not text in UTF-8") from error

"""Text files that hold several things: a card with its certificates, a list with its CRL.

Each thing is a block between `-----BEGIN LABEL-----` and `-----END LABEL-----` (RFC 7468);
what people write between blocks is ignored, so what openssl prints can be used as it is.
"""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from medshare.errors import FormatError, LimitError

CERTIFICATE: Final = "CERTIFICATE"
REQUEST: Final = "CERTIFICATE REQUEST"
CRL: Final = "X509 CRL"
CARD: Final = "MEDSHARE CARD"
PRACTITIONERS: Final = "MEDSHARE PRACTITIONERS"
MAX_BUNDLE: Final = 1 << 25
MAX_BLOCKS: Final = 64
_LABEL: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----\r?\n?")
_WIDTH: Final = 64


@dataclass(frozen=True, slots=True)
class Block:
    """One thing in a text file: what it is called, and its octets."""

    label: str
    content: bytes

    def text(self) -> str:
        """Return it as text, in lines of 64 characters."""
        coded = base64.b64encode(self.content).decode()
        lines = [coded[at : at + _WIDTH] for at in range(0, len(coded), _WIDTH)]
        return "\n".join(
            [f"-----BEGIN {self.label}-----", *lines, f"-----END {self.label}-----", ""]
        )


def write_blocks(blocks: Iterable[Block]) -> bytes:
    """Return the text file that holds *blocks*."""
    return "".join(block.text() for block in blocks).encode("ascii")


def read_blocks(data: bytes, *, what: str) -> tuple[Block, ...]:
    """Return the blocks in *data*, at least one.

    Raises FormatError when there is none or one is damaged, LimitError when there are too many.
    """
    if len(data) > MAX_BUNDLE:
        raise LimitError(f"{what} has {len(data)} bytes; at most {MAX_BUNDLE} are allowed")
    blocks: list[Block] = []
    position = 0
    while match := _LABEL.search(data, position):
        label = match[1].decode("ascii")
        end = f"-----END {label}-----".encode()
        stop = data.find(end, match.end())
        if stop < 0:
            raise FormatError(f"{what} is cut off")
        blocks.append(Block(label, _decoded(data[match.end() : stop], what)))
        position = stop + len(end)
        if len(blocks) > MAX_BLOCKS:
            raise LimitError(f"{what} holds more than {MAX_BLOCKS} things")
    if not blocks:
        raise FormatError(f"{what} holds nothing that is known here")
    return tuple(blocks)


def _decoded(text: bytes, what: str) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except ValueError as error:
        raise FormatError(f"the text of {what} is damaged") from error

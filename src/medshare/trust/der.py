"""The little of DER (X.690) that HCRole needs: tag, length, content, strictly.

Certificates themselves are read by the library `cryptography`; this is for the one attribute
that it leaves as octets.
"""

from typing import Final

from medshare.errors import FormatError

OBJECT_ID: Final = 0x06
UTF8_STRING: Final = 0x0C
NUMERIC_STRING: Final = 0x12
PRINTABLE_STRING: Final = 0x13
SEQUENCE: Final = 0x30
SET: Final = 0x31
MAX_SIZE: Final = 1 << 14
_WHAT: Final = "the role in a certificate"


def context(number: int) -> int:
    """Return the tag `[number]`, explicit, so constructed."""
    return 0xA0 | number


def write(tag: int, *contents: bytes) -> bytes:
    """Return one element with *tag* around the concatenated *contents*."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def read_all(data: bytes) -> list[tuple[int, bytes]]:
    """Return the elements of which *data* is made; raise FormatError unless it is DER."""
    if len(data) > MAX_SIZE:
        raise FormatError(f"{_WHAT} is too long")
    found = []
    position = 0
    while position < len(data):
        tag, content, position = _element(data, position)
        found.append((tag, content))
    return found


def read_one(data: bytes, tag: int) -> bytes:
    """Return the content of the one element, with *tag*, that *data* is."""
    match read_all(data):
        case [(found, content)] if found == tag:
            return content
    raise FormatError(f"{_WHAT} is not encoded as ISO 17090-3 says")


def _element(data: bytes, start: int) -> tuple[int, bytes, int]:
    tag = data[start]
    if tag & 0x1F == 0x1F or start + 2 > len(data):
        raise FormatError(f"{_WHAT} is not valid DER")
    size, begin = data[start + 1], start + 2
    if size >= 0x80:
        width = size & 0x7F
        size = int.from_bytes(data[begin : begin + width])
        minimal = (size.bit_length() + 7) // 8 == width and size >= 0x80
        if not minimal or width > 2:
            raise FormatError(f"{_WHAT} is not valid DER")
        begin += width
    if begin + size > len(data):
        raise FormatError(f"{_WHAT} is cut off")
    return tag, data[begin : begin + size], begin + size


def oid_content(dotted: str) -> bytes:
    """Return the content octets of the object identifier *dotted* (X.690 §8.19)."""
    arcs = [int(arc) for arc in dotted.split(".")]
    return b"".join(_base128(arc) for arc in (40 * arcs[0] + arcs[1], *arcs[2:]))


def _base128(number: int) -> bytes:
    septets = [number & 0x7F]
    while number := number >> 7:
        septets.append(0x80 | number & 0x7F)
    return bytes(reversed(septets))


def oid_text(content: bytes) -> str:
    """Return the object identifier with these *content* octets, dotted."""
    arcs: list[int] = []
    number, started = 0, False
    for octet in content:
        if not started and octet == 0x80:
            raise FormatError(f"{_WHAT} names an object identifier that is not minimal")
        number, started = number << 7 | octet & 0x7F, octet >= 0x80
        if number >= 1 << 128:
            raise FormatError(f"{_WHAT} names an object identifier that is too long")
        if not started:
            arcs.append(number)
            number = 0
    if started or not arcs:
        raise FormatError(f"{_WHAT} names an object identifier that is cut off")
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (first, arcs[0] - 40 * first, *arcs[1:]))

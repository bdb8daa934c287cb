"""Names of tokens and of keys in them: `pkcs11:` URIs (RFC 7512), strictly.

    pkcs11:token=medshare;serial=0123456789abcdef
    pkcs11:token=medshare;object=sign%200;id=%8f%01;type=private

What cannot matter for finding a token or a key is refused, so that nobody believes it were
heeded.  A module path names code that is loaded into this process.  It is honoured where it
stands in this machine's own configuration, and refused everywhere else (`require_no_module`);
a PIN is refused anywhere.

Pure: text in, values out.
"""

import re
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from medshare.errors import FormatError, UsageError

SCHEME: Final = "pkcs11:"
MAX_URI: Final = 1024
MAX_ID: Final = 64
MAX_SLOT: Final = 2**32 - 1

_NAME: Final = r"[A-Za-z0-9_-]{1,32}"
_SHARED: Final = r"A-Za-z0-9._~:\[\]@!$'()*+,=\-"
_PATH_ATTRIBUTE: Final = re.compile(rf"({_NAME})=((?:[{_SHARED}&]|%[0-9A-Fa-f]{{2}})*)")
_QUERY_ATTRIBUTE: Final = re.compile(rf"({_NAME})=((?:[{_SHARED}/?|]|%[0-9A-Fa-f]{{2}})*)")
_SLOT: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_TEXTS: Final = {"token": 32, "manufacturer": 32, "serial": 16, "model": 16, "object": 255}
"""Attributes that are text, and the octets that PKCS#11 has room for."""
_TYPES: Final = frozenset({"public", "private", "secret-key"})
_PINS: Final = frozenset({"pin-value", "pin-source"})


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """What a URI says of a token, and of a key in it; None where it says nothing."""

    token: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    model: str | None = None
    slot_id: int | None = None
    object: str | None = None
    id: bytes | None = None
    type: str | None = None
    module_path: str | None = None

    def __str__(self) -> str:
        """Return the URI, each value written in one way only."""
        fields = {
            "token": self.token,
            "manufacturer": self.manufacturer,
            "serial": self.serial,
            "model": self.model,
            "slot-id": None if self.slot_id is None else str(self.slot_id),
            "object": self.object,
        }
        said = [
            f"{name}={quote(text, safe='')}" for name, text in fields.items() if text is not None
        ]
        if self.id is not None:  # RFC 7512 §2.3 would have the whole of it encoded
            said.append("id=" + "".join(f"%{octet:02x}" for octet in self.id))
        if self.type is not None:
            said.append(f"type={self.type}")
        query = "" if self.module_path is None else f"?module-path={quote(self.module_path)}"
        return SCHEME + ";".join(said) + query

    def of_token(self) -> "Pkcs11Uri":
        """Return the name of the token alone."""
        return replace(self, object=None, id=None, type=None, module_path=None)


@dataclass(frozen=True, slots=True)
class KeyName:
    """What a key is called in a token: CKA_LABEL for people, CKA_ID to find it by."""

    label: str
    id: bytes


def parse_uri(text: str) -> Pkcs11Uri:
    """Return what *text* says; raise FormatError unless all of it is understood."""
    if len(text) > MAX_URI:
        raise FormatError(f"a pkcs11 URI has at most {MAX_URI} characters")
    if not text.startswith(SCHEME):
        raise FormatError(f"this is not a URI of a token: it does not begin with '{SCHEME}'")
    path, mark, query = text.removeprefix(SCHEME).partition("?")
    found = _attributes(path, ";", _PATH_ATTRIBUTE) if path else {}
    asked = _attributes(query, "&", _QUERY_ATTRIBUTE) if mark else {}
    _refuse_unknown(found, {*_TEXTS, "slot-id", "id", "type"})
    _refuse_unknown(asked, {"module-path"})
    return Pkcs11Uri(
        **{name: _text(found, name, limit) for name, limit in _TEXTS.items()},
        slot_id=_slot(found.get("slot-id")),
        id=_id(found.get("id")),
        type=_type(found.get("type")),
        module_path=_text(asked, "module-path", MAX_URI),
    )


def require_token(uri: Pkcs11Uri) -> Pkcs11Uri:
    """Return *uri*; raise UsageError unless it names a token, and no key in it."""
    if uri.of_token() != replace(uri, module_path=None):
        raise UsageError("the URI of a keystore names a token, not a key in it")
    if uri.token is None and uri.serial is None and uri.slot_id is None:
        raise UsageError(
            "the URI of a keystore does not say which token is meant",
            hint="for example: pkcs11:token=medshare",
        )
    return uri


def require_no_module(uri: Pkcs11Uri) -> Pkcs11Uri:
    """Return *uri*; raise UsageError when it would have a library loaded into this process."""
    if uri.module_path is not None:
        raise UsageError(
            "the path of a PKCS#11 module is taken from this machine's own configuration only",
            hint="set pkcs11_module in config.toml, or MEDSHARE_PKCS11_MODULE",
        )
    return uri


def _attributes(part: str, separator: str, shape: re.Pattern[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for attribute in part.split(separator):
        match = shape.fullmatch(attribute)
        if match is None:
            raise FormatError("a pkcs11 URI is malformed: attributes are written name=value")
        if match[1] in _PINS:  # before anything could repeat the value
            raise FormatError("a PIN has no place in a pkcs11 URI")
        if match[1] in found:
            raise FormatError(f"a pkcs11 URI has the attribute '{match[1]}' twice")
        found[match[1]] = unquote_to_bytes(match[2])
    return found


def _refuse_unknown(found: dict[str, bytes], known: set[str]) -> None:
    for name in found:
        if name not in known:
            raise FormatError(f"the attribute '{name}' of a pkcs11 URI is not understood here")


def _text(found: dict[str, bytes], name: str, limit: int) -> str | None:
    if name not in found:
        return None
    octets = found[name]
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise FormatError(f"the attribute '{name}' of a pkcs11 URI is not UTF-8") from None
    if not 0 < len(octets) <= limit or not text.isprintable() or text != text.rstrip(" "):
        raise FormatError(f"the attribute '{name}' of a pkcs11 URI cannot be the name of anything")
    return text


def _slot(octets: bytes | None) -> int | None:
    if octets is None:
        return None
    text = octets.decode("latin-1")
    if not _SLOT.fullmatch(text) or int(text) > MAX_SLOT:
        raise FormatError("the attribute 'slot-id' of a pkcs11 URI is not a number of a slot")
    return int(text)


def _id(octets: bytes | None) -> bytes | None:
    if octets is not None and not 0 < len(octets) <= MAX_ID:
        raise FormatError(f"the attribute 'id' of a pkcs11 URI has not 1 to {MAX_ID} octets")
    return octets


def _type(octets: bytes | None) -> str | None:
    text = None if octets is None else octets.decode("latin-1")
    if text is not None and text not in _TYPES:
        raise FormatError("the attribute 'type' of a pkcs11 URI is of no kind that is used here")
    return text

"""Healthcare roles in certificates: `HCRole` of ISO 17090-3, in subjectDirectoryAttributes.

    SubjectDirectoryAttributes ::= SEQUENCE OF Attribute           (RFC 5280 §4.2.1.8)
    Attribute   ::= SEQUENCE { type OBJECT IDENTIFIER, values SET OF AttributeValue }
    HCActorData ::= SET OF HCActor                                 (type 1.0.17090.0.1)
    HCActor     ::= SEQUENCE { codedData [0] CodedData,
                               regionalHCActorData [1] … OPTIONAL }
    CodedData   ::= SET { codingSchemeReference [0] OBJECT IDENTIFIER,
                          codeDataValue [1] NumericString OPTIONAL,
                          codeDataFreeText [2] DirectoryString OPTIONAL }

Roles that are issued here are coded in ISCO-08, the occupations of the International Labour
Organization; of others the free text is shown, or scheme and code.
"""

from dataclasses import dataclass
from typing import Final

from medshare.errors import FormatError
from medshare.trust import der

HC_ROLE: Final = "1.0.17090.0.1"
ISCO_08: Final = "2.16.840.1.113883.2.9.6.2.7"
ROLES: Final = {
    "physician": "2211",
    "specialist": "2212",
    "nurse": "2221",
    "midwife": "2222",
    "paramedic": "2240",
    "dentist": "2261",
    "pharmacist": "2262",
    "physiotherapist": "2264",
    "physicist": "2111",
    "technician": "3211",
    "laboratory-technician": "3212",
}
"""What `--role` may say, with its code in ISCO-08."""
MAX_ROLES: Final = 16
_MAX_TEXT: Final = 256
_NAMES: Final = {code: name for name, code in ROLES.items()}
_TEXTS: Final = (der.UTF8_STRING, der.PRINTABLE_STRING, der.NUMERIC_STRING)


@dataclass(frozen=True, slots=True)
class Role:
    """A role as it is coded: *scheme* is an object identifier, *code* or *text* may be empty."""

    scheme: str
    code: str
    text: str = ""

    @property
    def name(self) -> str:
        """How people call it; whatever the certificate says, so escape it when it is shown."""
        known = _NAMES.get(self.code) if self.scheme == ISCO_08 else None
        return known or self.text or f"{self.scheme}:{self.code}"


def role_named(name: str) -> Role:
    """Return the role called *name* in `ROLES`; KeyError when there is none."""
    return Role(ISCO_08, ROLES[name], name)


def encode_role(role: Role) -> bytes:
    """Return the value of the extension subjectDirectoryAttributes that states *role*."""
    parts = [der.write(der.context(0), der.write(der.OBJECT_ID, der.oid_content(role.scheme)))]
    if role.code:
        parts.append(
            der.write(der.context(1), der.write(der.NUMERIC_STRING, role.code.encode("ascii")))
        )
    if role.text:
        parts.append(der.write(der.context(2), der.write(der.UTF8_STRING, role.text.encode())))
    coded = der.write(der.context(0), der.write(der.SET, *parts))
    actors = der.write(der.SET, der.write(der.SEQUENCE, coded))
    kind = der.write(der.OBJECT_ID, der.oid_content(HC_ROLE))
    attribute = der.write(der.SEQUENCE, kind, der.write(der.SET, actors))
    return der.write(der.SEQUENCE, attribute)


def parse_roles(extension: bytes) -> tuple[Role, ...]:
    """Return the roles in the value of an extension subjectDirectoryAttributes.

    Other attributes in it are left alone.  Raises FormatError when it is malformed.
    """
    roles: list[Role] = []
    for tag, attribute in der.read_all(der.read_one(extension, der.SEQUENCE)):
        match tag, der.read_all(attribute):
            case der.SEQUENCE, [(der.OBJECT_ID, kind), (der.SET, values)]:
                if der.oid_text(kind) == HC_ROLE:
                    roles.extend(_actors(values))
            case _:
                raise FormatError("the directory attributes of a certificate are malformed")
    if len(roles) > MAX_ROLES:
        raise FormatError("a certificate states too many roles")
    return tuple(roles)


def _actors(values: bytes) -> list[Role]:
    actors: list[Role] = []
    for tag, data in der.read_all(values):
        if tag != der.SET:
            raise FormatError("the role in a certificate is not encoded as ISO 17090-3 says")
        actors.extend(_actor(one, content) for one, content in der.read_all(data))
    return actors


def _actor(tag: int, content: bytes) -> Role:
    parts = der.read_all(content)
    tags = [one for one, _ in parts]
    if tag != der.SEQUENCE or tags not in ([0xA0], [0xA0, 0xA1]):
        raise FormatError("the role in a certificate is not encoded as ISO 17090-3 says")
    coded = dict(der.read_all(der.read_one(parts[0][1], der.SET)))
    if der.context(0) not in coded or len(coded) < 2 or coded.keys() - {0xA0, 0xA1, 0xA2}:
        raise FormatError("the role in a certificate has no coding scheme, or no code")
    scheme = der.oid_text(der.read_one(coded[der.context(0)], der.OBJECT_ID))
    return Role(scheme, _text(coded.get(der.context(1))), _text(coded.get(der.context(2))))


def _text(element: bytes | None) -> str:
    if element is None:
        return ""
    match der.read_all(element):
        case [(tag, content)] if tag in _TEXTS and len(content) <= _MAX_TEXT:
            try:
                return content.decode()
            except UnicodeDecodeError as error:
                raise FormatError("the role in a certificate is not valid text") from error
    raise FormatError("the role in a certificate is not valid text")

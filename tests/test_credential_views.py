"""What certificates and authorities say of themselves is shown, and cannot deceive."""

import unicodedata

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from rich.console import RenderableType

from medshare.authority.held import Standing
from medshare.authority.refreshing import Asked
from medshare.authority.register import Issued, Register
from medshare.commands import credential_views, refresh_views
from medshare.commands.lines import plain_lines
from medshare.errors import CredentialError
from medshare.trust.certification import Vetted
from medshare.trust.credential import parse_credential
from medshare.trust.hcrole import Role, encode_role
from medshare.trust.ocsp import Answer, Word
from tests.certifier import (
    COMMISSION,
    authority_certificate,
    credential,
    distinguished,
    doctor_parts,
    listing,
    trusted,
)

EVIL = "x\x1b[2J\u202egnp\nmedshare: delivered\r\u200b\x9b"
ROLE = x509.UnrecognizedExtension(
    ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES, encode_role(Role("1.2.3", "", EVIL))
)
LEAF = credential(
    subject=distinguished(cn=EVIL, serial="1", o=EVIL, ou=EVIL),
    parts=doctor_parts() | {"role": (ROLE, False)},
)
FOUND = parse_credential(LEAF)
GOOD = Standing(Vetted(FOUND, EVIL), None, FOUND)
BAD = Standing(None, CredentialError(EVIL, hint=EVIL), FOUND)
HOSTILE = trusted(
    name=EVIL,
    certificates=(authority_certificate(subject=distinguished(cn=EVIL), issuer=COMMISSION),),
    practitioners=listing(of=[LEAF]),
)
REVOKED = Issued(LEAF, 1, "cessation")
VIEWS: dict[str, RenderableType] = {
    "vetted": credential_views.standing_line(GOOD),
    "not vetted": credential_views.standing_line(BAD),
    "attached": credential_views.attached(FOUND, GOOD),
    "issued": credential_views.issued(Issued(LEAF), "certified", "x"),
    "register": credential_views.register(Register(issued=(Issued(LEAF), REVOKED))),
    "authority": credential_views.authority(HOSTILE, "is trusted"),
    "authorities": credential_views.authorities([HOSTILE, trusted(crls=())]),
    "refreshed": refresh_views.view(
        [
            Asked(EVIL, LEAF, EVIL, Answer(Word.REVOKED, 1, 2, 3, EVIL), 5),
            Asked(EVIL, None, fault=CredentialError(EVIL, hint=EVIL)),
        ]
    ),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_no_view_repeats_what_could_deceive(view: RenderableType) -> None:
    """Names, roles, departments and reasons of others are escaped in every view."""
    lines = plain_lines(view)
    unsafe = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert lines
    assert all(unicodedata.category(c) not in unsafe for line in lines for c in line)
    assert not any(line.startswith("medshare: delivered") for line in lines)


def test_a_program_is_told_of_good_and_bad() -> None:
    """The record names the authority of a good credential, and the fault of a bad one."""
    good, bad = credential_views.standing_record(GOOD), credential_views.standing_record(BAD)
    assert good is not None
    assert bad is not None
    assert (good["authority"], good["fault"]) == (EVIL, None)
    assert (bad["authority"], bad["fault"]["code"]) == (None, "credential")
    assert credential_views.standing_record(None) is None
    assert credential_views.standing_line(None) == ""

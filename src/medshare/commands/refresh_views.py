"""What responders answered about certificates: as people read it, and as programs do."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from medshare.authority.refreshing import Asked
from medshare.commands import text
from medshare.commands.views import BAD, GOOD, OPEN, facts, headline
from medshare.trust.credential import digest_of
from medshare.trust.ocsp import Word


def record(asked: Sequence[Asked]) -> dict[str, Any]:
    """Return what programs read."""
    return {"event": "credentials_refreshed", "answers": [_record(one) for one in asked]}


def _record(one: Asked) -> dict[str, Any]:
    answer, fault = one.answer, one.fault
    return {
        "contact": one.contact,
        "certificate": None if one.certificate is None else digest_of(one.certificate).hex(),
        "responder": one.responder or None,
        "status": None if answer is None else answer.word.value,
        "revoked_at": None if answer is None else answer.revoked_at,
        "reason": None if answer is None else answer.reason or None,
        "this_update": None if answer is None else answer.this_update,
        "good_until": one.good_until,
        "fault": None if fault is None else {"code": fault.code, "message": fault.message},
    }


def view(asked: Sequence[Asked]) -> RenderableType:
    """Return what people read: one certificate after the other."""
    if not asked:
        return Text("no certificate of a contact names a responder; nobody was asked")
    return Group(*(_view(one) for one in asked))


def _view(one: Asked) -> RenderableType:
    name = "this station" if one.contact is None else text.visible(one.contact)
    if one.answer is None:
        reason = "" if one.fault is None else one.fault.message
        return headline("✗", BAD, f"{name}: {text.visible(reason, limit=1000)}")
    mark, style, sentence = _said(one)
    until = "" if one.good_until is None else text.moment(one.good_until)
    subject = "" if one.certificate is None else one.certificate.subject.rfc4514_string()
    rows = [
        ("certificate", text.visible(subject)),
        ("responder", text.visible(one.responder)),
        ("answer holds", f"until {until}"),
    ]
    return Group(headline(mark, style, f"{name}: {sentence}"), facts(rows))


def _said(one: Asked) -> tuple[str, str, str]:
    answer = one.answer
    if answer is None or answer.word is Word.UNKNOWN:
        return "●", OPEN, "unknown to its responder"
    if answer.word is Word.GOOD:
        return "✓", GOOD, "good"
    since = "" if answer.revoked_at is None else f" at {text.moment(answer.revoked_at)}"
    reason = f" ({text.visible(answer.reason)})" if answer.reason else ""
    return "✗", BAD, f"revoked{since}{reason}"

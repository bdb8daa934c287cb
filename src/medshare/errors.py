"""Every deliberate failure of medshare, under one root.

    MedshareError                    code, message, hint, retryable
    ├── UsageError                   the request makes no sense
    ├── FormatError                  not a medshare object
    │   ├── UnsupportedVersionError  written by a newer medshare, or for another purpose
    │   └── LimitError               larger than the format allows
    ├── IntegrityError               not what was sealed
    │   ├── DigestMismatchError      bytes differ from the digest that names them
    │   ├── IncompleteError          chunks, seal or files are missing
    │   └── CodecError               compressed bytes do not decode
    ├── AuthenticityError            not from whom it claims
    │   ├── GrantError               made, or passed on, by somebody who was not granted that
    │   ├── SignatureError           a signature is missing or does not verify
    │   └── UntrustedSignerError     well signed, by somebody nobody here trusts
    │       ├── RevokedError         with keys, or by a station, that was trusted once
    │       └── CredentialError      no authority that is trusted here vouches for it
    ├── KeyUnavailableError          the secret that would be needed is not here
    │   ├── NoIdentityMatchError     the parcel is addressed to somebody else
    │   ├── PassphraseError          the keystore does not open with this passphrase or PIN
    │   └── TokenError               the hardware token is missing, locked, full or fails
    ├── AuditError                   the record was changed, cut or forked
    ├── AccessDeniedError            known, but not permitted
    ├── TransferError                did not arrive
    │   ├── RelayUnavailableError    the relay is down, slow or unreachable (retryable)
    │   ├── RelayRefusedError        the relay understood and said no
    │   └── NotFoundError            the relay has no such parcel, chunk or seal
    ├── StorageError                 local disk: full, read-only, unreadable
    │   └── SourceChangedError       a source file changed while it was being sent
    ├── PolicyError                  refused by policy: suite, retention, who may open what
    ├── UnhealthyError               something on this machine should be mended
    └── CancelledError               stopped by the user; run again to resume

`code` is stable (it appears in JSON events, in the relay's answers and in the
audit record); the sentence may change.  An unknown code means failure.
Verification raises; it never returns a bool.
"""


class MedshareError(Exception):
    """Root of all deliberate failures: one sentence, one stable code, perhaps a hint."""

    code = "error"
    retryable = False

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class UsageError(MedshareError):
    """The request makes no sense as it was put."""

    code = "usage"


class FormatError(MedshareError):
    """Bytes are not a well-formed medshare object."""

    code = "format"


class UnsupportedVersionError(FormatError):
    """Well-formed, but of a version, suite or kind that this reader does not know."""

    code = "format.version"


class LimitError(FormatError):
    """Larger than the format allows; nothing was allocated for it."""

    code = "format.limit"


class IntegrityError(MedshareError):
    """Bytes are not what the sender sealed."""

    code = "integrity"


class DigestMismatchError(IntegrityError):
    """Bytes do not have the digest that names them."""

    code = "integrity.digest"


class IncompleteError(IntegrityError):
    """Something that the seal or the receipt promises is missing."""

    code = "integrity.incomplete"


class CodecError(IntegrityError):
    """Compressed bytes do not decode to what was announced."""

    code = "integrity.codec"


class AuthenticityError(MedshareError):
    """Not from whom it claims to be."""

    code = "authenticity"


class GrantError(AuthenticityError):
    """It continues another parcel as no grant allowed; the code says which rule failed."""

    code = "grant"


class SignatureError(AuthenticityError):
    """A required signature is missing or does not verify."""

    code = "authenticity.signature"


class UntrustedSignerError(AuthenticityError):
    """Signed by an identity that is not among the trusted cards."""

    code = "authenticity.untrusted"


class RevokedError(UntrustedSignerError):
    """Signed with keys that were revoked, or by a station that is no longer trusted."""

    code = "authenticity.revoked"


class CredentialError(UntrustedSignerError):
    """No credential, or none that is good; the code says which check failed."""

    code = "credential"


class KeyUnavailableError(MedshareError):
    """A secret key that would be needed is not in the keystore."""

    code = "key"


class NoIdentityMatchError(KeyUnavailableError):
    """No stanza of the parcel is addressed to a key that we hold."""

    code = "key.not-addressed"


class PassphraseError(KeyUnavailableError):
    """The keystore does not open with the passphrase given, or it is too soon to try."""

    code = "key.passphrase"
    seconds_to_wait = 0.0
    """How long nothing is tried; nothing was, when this is more than 0."""


class TokenError(KeyUnavailableError):
    """The hardware token that holds the keys is missing, locked or full, or it fails."""

    code = "key.token"


class AuditError(MedshareError):
    """The record does not verify: something in it was changed, cut, moved or forked."""

    code = "audit"


class AccessDeniedError(MedshareError):
    """Who asked is known, but may not do this."""

    code = "access.denied"


class TransferError(MedshareError):
    """Something did not arrive."""

    code = "transfer"


class RelayUnavailableError(TransferError):
    """The relay cannot be reached, stalls or fails; trying again may help."""

    code = "transfer.unavailable"
    retryable = True


class RelayRefusedError(TransferError):
    """The relay understood the request and refused it."""

    code = "transfer.refused"


class NotFoundError(TransferError):
    """The relay (or folder) has no such parcel, chunk, seal or receipt."""

    code = "transfer.not-found"


class StorageError(MedshareError):
    """The local disk is full, read-only or unreadable."""

    code = "storage"


class SourceChangedError(StorageError):
    """A source file changed, grew, shrank or vanished while it was being sent."""

    code = "storage.source-changed"


class PolicyError(MedshareError):
    """Refused by policy: suite, tier, retention, or who may open what."""

    code = "policy"


class UnhealthyError(MedshareError):
    """Something on this machine should be mended; `medshare doctor` says what."""

    code = "unhealthy"


class CancelledError(MedshareError):
    """Stopped by the user; what was confirmed stays confirmed."""

    code = "cancelled"

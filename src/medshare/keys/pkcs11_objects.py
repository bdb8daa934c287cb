"""What is done inside a token, call by call; each function runs inside `Connection.run`.

All keys that stay are made non-extractable.  Those that live for one call, the Diffie-Hellman
value of an opening and the key that is wrapped or unwrapped, are session objects that can be
read, and are removed at once.
"""

from typing import Any, Final

from medshare.errors import TokenError
from medshare.keys.kek import does_not_unwrap
from medshare.keys.pkcs11_errors import is_no_wrap, library_error
from medshare.keys.pkcs11_session import Connection
from medshare.keys.pkcs11_uri import KeyName
from medshare.suites import p256
from medshare.suites.base import KEY_SIZE

IDENTITY_MECHANISMS: Final = ("EC_KEY_PAIR_GEN", "ECDSA", "ECDH1_DERIVE")
KEK_MECHANISMS: Final = ("AES_KEY_GEN", "AES_KEY_WRAP")
_P256: Final = bytes.fromhex("06082a8648ce3d030107")
"""The name of the curve, 1.2.840.10045.3.1.7, in DER."""


def make_signature_key(token: Connection, name: KeyName) -> bytes:
    """Make the key pair *name* that signs, in place of what has its id.

    Returns its point.  Whatever an interrupted run has made of it is removed before.
    """
    from pkcs11 import MechanismFlag

    return _make_pair(token, name, MechanismFlag.SIGN | MechanismFlag.VERIFY)


def make_agreement_key(token: Connection, name: KeyName) -> bytes:
    """Make the key pair *name* for Diffie-Hellman, likewise; return its point."""
    from pkcs11 import MechanismFlag

    return _make_pair(token, name, MechanismFlag.DERIVE)


def destroy_kek(token: Connection, name: KeyName) -> None:
    """Remove the AES key called *name*, if there is one."""
    from pkcs11 import ObjectClass

    token.destroy((ObjectClass.SECRET_KEY,), name)


def _make_pair(token: Connection, name: KeyName, capabilities: Any) -> bytes:
    """Make a key pair that cannot be extracted; return its point."""
    from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

    token.destroy((ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY), name)
    parameters = token.session.create_domain_parameters(
        KeyType.EC, {Attribute.EC_PARAMS: _P256}, local=True
    )
    public, _ = parameters.generate_keypair(
        store=True,
        id=name.id,
        label=name.label,
        capabilities=capabilities,
        mechanism=Mechanism.EC_KEY_PAIR_GEN,
        private_template={
            Attribute.PRIVATE: True,
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
        },
    )
    return _point(bytes(public[Attribute.EC_POINT]))


def _point(encoded: bytes) -> bytes:
    """Return the point in CKA_EC_POINT, which some tokens wrap in an OCTET STRING of DER."""
    if len(encoded) == p256.POINT_SIZE + 2 and encoded[:2] == bytes([4, p256.POINT_SIZE]):
        encoded = encoded[2:]
    try:
        p256.load_point(encoded)
    except ValueError:
        raise TokenError("the token shows a public key that is not on P-256") from None
    return encoded


def sign(token: Connection, name: KeyName, digest: bytes) -> bytes:
    """Return the ECDSA signature over *digest* by the key called *name*."""
    from pkcs11 import Mechanism, ObjectClass

    key = token.key(ObjectClass.PRIVATE_KEY, name)
    return bytes(key.sign(digest, mechanism=Mechanism.ECDSA))


def exchange(token: Connection, name: KeyName, point: bytes) -> bytes:
    """Return the x coordinate that Diffie-Hellman gives, 32 octets."""
    from pkcs11 import KDF, KeyType, Mechanism, MechanismFlag, ObjectClass

    key = token.key(ObjectClass.PRIVATE_KEY, name)
    derived = key.derive_key(
        KeyType.GENERIC_SECRET,
        8 * p256.NUMBER_SIZE,
        capabilities=MechanismFlag(0),
        mechanism=Mechanism.ECDH1_DERIVE,
        mechanism_param=(KDF.NULL, None, point),
        template=_readable(),
    )
    return _taken(derived).rjust(p256.NUMBER_SIZE, b"\x00")


def make_kek(token: Connection, name: KeyName) -> None:
    """Make the AES-256 key *name*, in place of what has its id."""
    from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag

    token.require_mechanisms(KEK_MECHANISMS)
    destroy_kek(token, name)
    token.session.generate_key(
        KeyType.AES,
        8 * KEY_SIZE,
        store=True,
        id=name.id,
        label=name.label,
        capabilities=MechanismFlag.WRAP | MechanismFlag.UNWRAP,
        mechanism=Mechanism.AES_KEY_GEN,
        template={
            Attribute.PRIVATE: True,
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
        },
    )


def wrap(token: Connection, name: KeyName, key: bytes) -> bytes:
    """Return *key* wrapped under the AES key called *name*."""
    from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

    kek = token.key(ObjectClass.SECRET_KEY, name)
    entered = token.session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
            Attribute.VALUE: key,
            **_readable(),
        }
    )
    try:
        return bytes(kek.wrap_key(entered, mechanism=Mechanism.AES_KEY_WRAP))
    finally:
        entered.destroy()


def unwrap(token: Connection, name: KeyName, wrapped: bytes) -> bytes:
    """Return the key in *wrapped*; raise IntegrityError when it is not of this AES key."""
    from pkcs11 import KeyType, Mechanism, MechanismFlag, ObjectClass

    kek = token.key(ObjectClass.SECRET_KEY, name)
    try:
        key = kek.unwrap_key(
            ObjectClass.SECRET_KEY,
            KeyType.GENERIC_SECRET,
            wrapped,
            capabilities=MechanismFlag(0),
            mechanism=Mechanism.AES_KEY_WRAP,
            template=_readable(),
        )
    except library_error() as error:
        if not is_no_wrap(error):
            raise
        wrap(token, name, bytes(KEY_SIZE))  # raises where the token is at fault
        raise does_not_unwrap() from error
    return _taken(key)


def _readable() -> dict[Any, Any]:
    """Return the attributes of a key that lives for one call and may be read."""
    from pkcs11 import Attribute

    return {
        Attribute.TOKEN: False,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: False,
        Attribute.EXTRACTABLE: True,
    }


def _taken(key: Any) -> bytes:
    """Return the value of *key*, and remove it from the token."""
    from pkcs11 import Attribute

    try:
        return bytes(key[Attribute.VALUE])
    finally:
        key.destroy()

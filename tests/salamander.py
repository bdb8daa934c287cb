"""An "invisible salamander": one AES-GCM ciphertext that authenticates under two keys.

GCM's tag is linear in the ciphertext (NIST SP 800-38D §6.4): with one free block it can be
made the same under both keys.  Dodis and others, "Fast Message Franking", CRYPTO 2018.
"""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK = 16
_REDUCTION = 0xE1 << 120


def multiply(x: int, y: int) -> int:
    """Multiply in GF(2^128) with GCM's order of bits (SP 800-38D §6.3)."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = (y >> 1) ^ (_REDUCTION if y & 1 else 0)
    return product


def inverse(x: int) -> int:
    """Return x^(2^128 - 2)."""
    result, power = 1 << 127, x
    for _ in range(127):
        power = multiply(power, power)
        result = multiply(result, power)
    return result


def two_keys_one_ciphertext(
    one: bytes, other: bytes, nonce: bytes, aad: bytes, body: bytes
) -> bytes:
    """Return ciphertext and tag, of *body* and one more block, that open under both keys.

    The lengths of *aad* and *body* are multiples of 16.
    """
    sides = [_side(key, nonce, aad, body) for key in (one, other)]
    (tag_1, h_1), (tag_2, h_2) = sides
    square_1, square_2 = multiply(h_1, h_1), multiply(h_2, h_2)
    free = multiply(tag_1 ^ tag_2, inverse(square_1 ^ square_2))
    tag = tag_1 ^ multiply(free, square_1)
    return body + free.to_bytes(BLOCK) + tag.to_bytes(BLOCK)


def _side(key: bytes, nonce: bytes, aad: bytes, body: bytes) -> tuple[int, int]:
    """Return the tag with a last block of zeros, and the hash key H."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    h = int.from_bytes(encryptor.update(bytes(BLOCK)))
    mask = int.from_bytes(encryptor.update(nonce + (1).to_bytes(4)))
    lengths = (8 * len(aad)).to_bytes(8) + (8 * (len(body) + BLOCK)).to_bytes(8)
    data = aad + body + bytes(BLOCK) + lengths
    state = 0
    for at in range(0, len(data), BLOCK):
        state = multiply(state ^ int.from_bytes(data[at : at + BLOCK]), h)
    return state ^ mask, h

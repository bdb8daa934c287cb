"""What the algorithms of each suite cost, on one thread and on two.

Prints JSON: MiB/s of the bulk algorithms over chunks of 4 MiB, with each library that offers
them, and milliseconds of one operation with a key.  Best of several rounds, as everything
that disturbs makes it slower.

`python -m benchmarks.suites --rounds 5`
"""

import argparse
import json
import os
import threading
import time
from collections.abc import Callable
from functools import partial

from benchmarks.measure import MIB, machine
from medshare.suites import suite_named
from medshare.suites.base import SYSTEM_RANDOM, TAG_SIZE, Aead, Hasher
from medshare.suites.gm import FastSm4Gcm, Sm3, Sm4Gcm, fast
from medshare.suites.kem import KEMS, opener_from_seed, wrap
from medshare.suites.kem import new_secret as new_kem_secret
from medshare.suites.signatures import SIGNATURES, Verifier, new_secret, signer_from_seed

SIZE = 4 * MIB
REPEAT = 4
Work = Callable[[], object]


def bulk() -> dict[str, Callable[[], Work]]:
    """Return what makes one worker's work, by name: each worker has buffers of its own."""
    key = os.urandom(32)
    intl = suite_named("intl")
    aeads: dict[str, Aead] = {"aes-256-gcm": intl.aead(key), "sm4-gcm openssl": Sm4Gcm(key)}
    hashers: dict[str, Callable[[], Hasher]] = {"blake3": intl.hasher, "sm3 openssl": Sm3}
    library = fast()
    if library is not None:
        aeads[f"sm4-gcm libgcrypt {library.version}"] = FastSm4Gcm(key, library)
        hashers[f"sm3 libgcrypt {library.version}"] = library.sm3
    works: dict[str, Callable[[], Work]] = {}
    for name, aead in aeads.items():
        works[f"{name} seal"] = partial(sealing, aead)
        works[f"{name} open"] = partial(opening, aead)
    return works | {name: partial(hashing, make) for name, make in hashers.items()}


def sealing(aead: Aead) -> Work:
    """Return what seals one chunk."""
    plain, out = os.urandom(SIZE), memoryview(bytearray(SIZE + TAG_SIZE))
    return lambda: aead.encrypt_into(bytes(12), plain, bytes(44), out)


def opening(aead: Aead) -> Work:
    """Return what opens one chunk."""
    sealed, out = bytearray(SIZE + TAG_SIZE), memoryview(bytearray(SIZE))
    aead.encrypt_into(bytes(12), os.urandom(SIZE), bytes(44), memoryview(sealed))
    return lambda: aead.decrypt_into(bytes(12), sealed, bytes(44), out)


def hashing(make: Callable[[], Hasher]) -> Work:
    """Return what hashes one chunk."""
    data = memoryview(bytearray(os.urandom(SIZE)))

    def work() -> bytes:
        hasher = make()
        hasher.update(data)
        return hasher.digest()

    return work


def rate(make: Callable[[], Work], *, threads: int, rounds: int) -> float:
    """Return MiB/s of all *threads* together, in the best of *rounds*."""
    works = [make() for _ in range(threads)]
    best = 0.0
    for _ in range(rounds):
        crew = [threading.Thread(target=repeat, args=(work,)) for work in works]
        begun = time.perf_counter()
        for one in crew:
            one.start()
        for one in crew:
            one.join()
        seconds = time.perf_counter() - begun
        best = max(best, threads * REPEAT * SIZE / MIB / seconds)
    return round(best, 1)


def repeat(work: Work) -> None:
    """Do *work* several times over."""
    for _ in range(REPEAT):
        work()


def milliseconds(work: Work, *, rounds: int) -> float:
    """Return what one *work* takes in the best of *rounds*."""
    best = float("inf")
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(20):
            work()
        best = min(best, (time.perf_counter() - begun) / 20)
    return round(1000 * best, 3)


def with_keys() -> dict[str, Work]:
    """Return the operations with a key, by name."""
    works: dict[str, Work] = {}
    message = b"m" * 100
    for name in SIGNATURES:
        signer = signer_from_seed(name, new_secret(name, SYSTEM_RANDOM))
        verifier, signature = Verifier(signer.public), signer.sign(message)
        works[f"{name} sign"] = partial(signer.sign, message)
        works[f"{name} verify"] = partial(verifier.verify, signature, message, what="it")
    for name in KEMS:
        opener = opener_from_seed(name, new_kem_secret(name, SYSTEM_RANDOM))
        wrapped = wrap(opener.public, bytes(32), info=b"i")
        works[f"{name} wrap"] = partial(wrap, opener.public, bytes(32), info=b"i")
        works[f"{name} unwrap"] = partial(opener.unwrap, wrapped, info=b"i")
    return works


def run(rounds: int) -> dict[str, object]:
    """Measure everything once."""
    return {
        "machine": machine(),
        "mib_per_second": {
            name: {str(n): rate(make, threads=n, rounds=rounds) for n in (1, 2)}
            for name, make in bulk().items()
        },
        "milliseconds": {
            name: milliseconds(work, rounds=rounds) for name, work in with_keys().items()
        },
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    print(json.dumps(run(parser.parse_args().rounds), indent=2))


if __name__ == "__main__":
    main()

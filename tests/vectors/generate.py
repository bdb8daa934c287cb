"""Write the test vectors anew: `make vectors`.

HPKE and ML-DSA draw randomness of their own, so every run writes other octets that mean
the same.  What a vector must end in is stated by the scenario, never taken from a reader.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from medshare.suites.kem import HYBRID, HYBRID_SEED_SIZE
from medshare.suites.signatures import ED25519, ML_DSA_65
from tests.builder import octets
from tests.scenarios import BASES, honest, senders
from tests.scenarios_content import CONTENT
from tests.scenarios_envelope import envelopes
from tests.scenarios_manifest import MANIFESTS, listed
from tests.scenarios_people import cards, receipts
from tests.vector_files import FOLDER, PATHS, STATIONS, SUFFIX, Vector

GENERATIONS = {"a": ("a", ""), "a2": ("a", " 1"), "b": ("b", ""), "c": ("c", "")}
"""From which labels `tests.builder` makes the keys of each station."""


def all_scenarios() -> Iterator[Vector]:
    """Yield every vector, freshly made."""
    yield from honest()
    yield from envelopes()
    yield from (bad.vector() for bad in (*MANIFESTS, *CONTENT))
    yield from cards()
    yield from receipts()


def base_of(vector: Vector, made: list[Vector]) -> Vector | None:
    """Return the honest vector from which *vector* differs least, if there is one."""
    bases = [one for one in made if one.name in BASES and one is not vector]
    kept = [sum(vector.objects.get(k) == v for k, v in one.objects.items()) for one in bases]
    best = max(kept)
    return None if vector.name in BASES or not best else bases[kept.index(best)]


def station(name: str) -> dict[str, str]:
    """Return the secret keys and the card of a station, in hexadecimal digits."""
    who, number = GENERATIONS[name]
    card = senders()[name]
    return {
        "station": card.station.hex(),
        ED25519: octets(f"{who} {ED25519}{number}").hex(),
        ML_DSA_65: octets(f"{who} {ML_DSA_65}{number}").hex(),
        HYBRID: octets(f"{who} kem{number}", HYBRID_SEED_SIZE).hex(),
        "card": card.encoded.hex(),
        "fingerprint": card.fingerprint,
    }


def main() -> None:
    """Replace all vector files."""
    made = list(all_scenarios())
    names = {vector.name for vector in made}
    if len(names) != len(made):
        raise SystemExit("two scenarios have the same name")
    for file in FOLDER.glob(f"*{SUFFIX}"):
        file.unlink()
    for vector in made:
        (FOLDER / f"{vector.name}{SUFFIX}").write_bytes(vector.encode(base_of(vector, made)))
    text = json.dumps({name: station(name) for name in GENERATIONS}, indent=2)
    STATIONS.write_text(text + "\n")
    PATHS.write_text(json.dumps(listed(), indent=2) + "\n")
    size = sum(file.stat().st_size for file in FOLDER.iterdir())
    sys.stdout.write(f"{len(made)} vectors, {size} octets\n")


if __name__ == "__main__":
    main()

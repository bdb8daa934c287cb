"""Write the test vectors anew: `make vectors`.

HPKE, ML-DSA and SM2 draw randomness of their own, so every run writes other octets that mean
the same.  What a vector must end in is stated by the scenario, never taken from a reader.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests import scenarios_administration, scenarios_gm, scenarios_grants, scenarios_p256
from tests.builder import KEYS, kem_label, secret
from tests.scenarios import BASES, honest, senders
from tests.scenarios_content import CONTENT
from tests.scenarios_envelope import envelopes
from tests.scenarios_manifest import MANIFESTS, listed
from tests.scenarios_people import cards, receipts
from tests.vector_files import FOLDER, PATHS, STATIONS, SUFFIX, Vector

GENERATIONS = {
    "a": ("a", "", "intl"),
    "a2": ("a", " 1", "intl"),
    "b": ("b", "", "intl"),
    "c": ("c", "", "intl"),
    "ga": ("ga", "", "gm"),
    "gb": ("gb", "", "gm"),
    "both": ("both", "", "gm+intl"),
    "ta": ("ta", "", "p256"),
    "tb": ("tb", "", "p256"),
}
"""From which labels `tests.builder` makes the keys of each station, and for which suites."""


def all_scenarios() -> Iterator[Vector]:
    """Yield every vector, freshly made."""
    yield from honest()
    yield from envelopes()
    yield from (bad.vector() for bad in (*MANIFESTS, *CONTENT))
    yield from cards()
    yield from receipts()
    yield from scenarios_gm.honest()
    yield from scenarios_gm.dishonest()
    yield from scenarios_p256.honest()
    yield from scenarios_p256.dishonest()
    yield from scenarios_grants.honest()
    yield from scenarios_grants.dishonest()


def base_of(vector: Vector, made: list[Vector]) -> Vector | None:
    """Return the honest vector from which *vector* differs least, if there is one."""
    names_of_bases = {*BASES, "gm-two-chunks", "p256-two-chunks", "grant-consultant"}
    bases = [one for one in made if one.name in names_of_bases and one is not vector]
    kept = [sum(vector.objects.get(k) == v for k, v in one.objects.items()) for one in bases]
    best = max(kept)
    return None if vector.name in names_of_bases or not best else bases[kept.index(best)]


def station(name: str) -> dict[str, Any]:
    """Return the secret keys and the card of a station, in hexadecimal digits."""
    who, number, suites = GENERATIONS[name]
    card = {**senders(), **scenarios_gm.senders(), **scenarios_p256.senders()}[name]
    signs, opens = KEYS[suites]
    return {
        "station": card.station.hex(),
        "sign": {one: secret(f"{who} {one}{number}", one).hex() for one in signs},
        "open": {one: secret(f"{who} {kem_label(one)}{number}", one).hex() for one in opens},
        "card": card.encoded.hex(),
        "fingerprint": card.fingerprint,
    }


def main() -> None:
    """Replace all vector files, or those whose names begin as the first argument says."""
    prefix = "".join(sys.argv[1:2])
    made = list(all_scenarios())
    names = {vector.name for vector in made}
    if len(names) != len(made):
        raise SystemExit("two scenarios have the same name")
    for file in FOLDER.glob(f"{prefix}*{SUFFIX}"):
        file.unlink()
    for vector in made:
        if vector.name.startswith(prefix):
            (FOLDER / f"{vector.name}{SUFFIX}").write_bytes(vector.encode(base_of(vector, made)))
    text = json.dumps({name: station(name) for name in GENERATIONS}, indent=2)
    STATIONS.write_text(text + "\n")
    PATHS.write_text(json.dumps(listed(), indent=2) + "\n")
    if not prefix:
        scenarios_administration.write()
    if not prefix or prefix.startswith("grant"):
        scenarios_grants.write()
    size = sum(file.stat().st_size for file in FOLDER.iterdir() if file.is_file())
    sys.stdout.write(f"{len(made)} vectors, {size} octets\n")


if __name__ == "__main__":
    main()

"""Every decoder that reads what others wrote, with examples of what it reads.

Where a signature, a checksum or a cipher stands before a decoder, there are two targets: the
whole, and the part behind it, which is signed, summed or sealed anew after it was damaged.
"""

from tests.attacks import fuzz_files, fuzz_format, fuzz_rights, fuzz_wire
from tests.attacks.fuzz import Target


def all_targets() -> tuple[Target, ...]:
    """Return all of them; the temporary folder of those that read files ends with the process."""
    return (
        *fuzz_format.targets(),
        *fuzz_wire.targets(),
        *fuzz_rights.targets(),
        *fuzz_files.targets(),
    )

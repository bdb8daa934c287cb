"""How much time a byte saved is worth."""

import enum


class Effort(enum.Enum):
    """What the encoder aims for; the decoder does not need to know.

    FASTEST suits lines faster than about 3 Gbit/s a core, BALANCED what lies below, and
    SMALLEST lines slower than about 0.2 Gbit/s a core.
    """

    FASTEST = "fastest"
    BALANCED = "balanced"
    SMALLEST = "smallest"

    @property
    def level(self) -> int:
        """The Zstandard level for what has no prediction."""
        return {Effort.FASTEST: 1, Effort.BALANCED: 3, Effort.SMALLEST: 9}[self]

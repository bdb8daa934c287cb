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
    def levels(self) -> tuple[int, ...]:
        """The Zstandard levels to try on what has no prediction, the likeliest first.

        Level 9 is now and then worse than level 3, which takes little time beside it.
        """
        return {Effort.FASTEST: (1,), Effort.BALANCED: (3,), Effort.SMALLEST: (9, 3)}[self]

"""The choice of a codec for one chunk, and its inverse."""

from typing import TYPE_CHECKING, Final

from medshare.codecs.effort import Effort
from medshare.codecs.frames import Frames
from medshare.errors import CodecError

if TYPE_CHECKING:
    from medshare.codecs.encoder import Encoder
    from medshare.codecs.planes import Planes

STORE: Final = 0
ZSTD: Final = 1
PLANES: Final = 2

# Below this no raster is worth its overhead.
_SMALL: Final = 8 * 1024
# The gate: small pieces, many of them, because a chunk may hold files of several kinds.
# A chunk that is soon compressed needs no gate.
_UNGATED: Final = 512 * 1024
_GATE_PIECE: Final = 2 * 1024
_GATE_PIECES: Final = 16
_LEAST_GAIN: Final = 0.985
# What has become this much smaller is so regular that Zstandard might do still better, and
# takes little time to try.
_CHEAP: Final = 20


class Codec:
    """Encodes and decodes chunks of at most `max_plain` bytes; one per thread.

    Buffers of about five times `max_plain` and 3 MB are made when the first raster needs
    them, and kept.
    """

    def __init__(self, max_plain: int) -> None:
        self._max_plain = max_plain
        self._frames = Frames(max_plain)
        self._planes: Planes | None = None
        self._encoder: Encoder | None = None

    def encode(
        self, plain: memoryview, effort: Effort = Effort.BALANCED
    ) -> tuple[int, bytes | memoryview]:
        """Return a codec id and the encoded form, which is never longer than `plain`.

        A returned view is valid until the next call; for `STORE` it is `plain` itself.
        """
        if len(plain) > self._max_plain:
            raise ValueError("the chunk is larger than this codec was made for")
        if not self._seems_compressible(plain):
            return STORE, plain
        plan = self._encoder_for_use().encode(plain, effort) if len(plain) > _SMALL else None
        size = sum(map(len, plan.parts)) if plan else len(plain)
        frame = b""
        if plan is None or plan.doubtful or size * _CHEAP < len(plain):
            frames = [self._frames.compress(plain, level) for level in effort.levels]
            frame = min(frames, key=len)
            if len(frame) < size:
                return ZSTD, frame
        if plan and size < len(plain):
            return PLANES, b"".join(plan.parts)
        return STORE, plain

    def decode(self, codec_id: int, encoded: memoryview, into: memoryview) -> None:
        """Fill `into`, whose length is that of the plaintext, from `encoded`.

        Raises:
            CodecError: the codec is unknown, or `encoded` is not exactly `len(into)` bytes.
        """
        if len(into) > self._max_plain:
            raise CodecError("chunk is larger than this decoder was made for")
        if codec_id == STORE:
            if len(encoded) != len(into):
                raise CodecError("stored chunk has another size than announced")
            into[:] = encoded
        elif codec_id == ZSTD:
            self._frames.decompress_into(encoded, into)
        elif codec_id == PLANES:
            self._planes_for_use().decode(encoded, into)
        else:
            raise CodecError(f"chunk uses an unknown codec ({codec_id})")

    def _seems_compressible(self, plain: memoryview) -> bool:
        """Judge by zstd -1 on a few pieces: 0.1 ms, against 24 ms to find out in full."""
        if len(plain) <= _UNGATED:
            return len(plain) > 0
        step = (len(plain) - _GATE_PIECE) // (_GATE_PIECES - 1)
        pieces = [plain[at * step : at * step + _GATE_PIECE] for at in range(_GATE_PIECES)]
        sample = b"".join(pieces)
        return len(self._frames.compress(sample, 1)) < _LEAST_GAIN * len(sample)

    def _planes_for_use(self) -> "Planes":
        if self._planes is None:
            from medshare.codecs.planes import Planes

            self._planes = Planes(self._max_plain, self._frames)
        return self._planes

    def _encoder_for_use(self) -> "Encoder":
        if self._encoder is None:
            from medshare.codecs.encoder import Encoder

            self._encoder = Encoder(self._planes_for_use(), self._frames)
        return self._encoder

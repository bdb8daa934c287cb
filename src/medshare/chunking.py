"""Files laid end to end and cut into chunks, and back (format §5).

All files of a parcel form one stream in manifest order.  A chunk ends after
`chunk_size` octets or after `MAX_PIECES` pieces, whichever comes first; the last one
ends with the stream.  A *piece* is the part of one file that lies in one chunk.  Empty
files have no piece, and a stream without octets has no chunk.

A study of 1,000 small slices therefore costs no more requests than one large file, and
any file can be read from the few chunks that hold it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from medshare.errors import LimitError

DEFAULT_CHUNK_SIZE: Final = 4 * 1024 * 1024
MIN_CHUNK_SIZE: Final = 1024
MAX_CHUNK_SIZE: Final = 16 * 1024 * 1024
MAX_PIECES: Final = 4096
MAX_CHUNKS: Final = 1 << 17


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of file number *file* that lies in one chunk; offsets and size in octets."""

    file: int
    file_offset: int
    chunk_offset: int
    size: int


class Layout:
    """Where each file of a parcel lies in its chunks.

    Raises LimitError when the files need more than `MAX_CHUNKS` chunks.
    """

    def __init__(self, sizes: Sequence[int], chunk_size: int) -> None:
        if not MIN_CHUNK_SIZE <= chunk_size <= MAX_CHUNK_SIZE:
            raise LimitError(f"a chunk size of {chunk_size} bytes is outside the format's range")
        if sum(sizes) > MAX_CHUNKS * chunk_size:
            raise LimitError("the files are too large for this chunk size")
        self.chunk_size = chunk_size
        self._sizes = sizes
        self._start_file: list[int] = []
        self._start_offset: list[int] = []
        self._chunk_sizes: list[int] = []
        self._cut()

    def _cut(self) -> None:
        room = pieces = 0
        for file, size in enumerate(self._sizes):
            offset = 0
            while offset < size:
                if room == 0 or pieces == 0:
                    self._begin(file, offset)
                    room, pieces = self.chunk_size, MAX_PIECES
                step = min(room, size - offset)
                self._chunk_sizes[-1] += step
                offset, room, pieces = offset + step, room - step, pieces - 1

    def _begin(self, file: int, offset: int) -> None:
        if len(self._start_file) == MAX_CHUNKS:
            raise LimitError(f"the files need more than {MAX_CHUNKS} chunks")
        self._start_file.append(file)
        self._start_offset.append(offset)
        self._chunk_sizes.append(0)

    @property
    def chunk_count(self) -> int:
        """How many chunks the stream has."""
        return len(self._chunk_sizes)

    @property
    def total_size(self) -> int:
        """Octets of the whole stream."""
        return sum(self._sizes)

    def size(self, index: int) -> int:
        """Octets of plaintext in chunk *index*."""
        return self._chunk_sizes[index]

    def pieces(self, index: int) -> Iterator[Piece]:
        """Yield the pieces of chunk *index*, in order."""
        file, offset, position = self._start_file[index], self._start_offset[index], 0
        end = self._chunk_sizes[index]
        while position < end:
            step = min(self._sizes[file] - offset, end - position)
            if step:
                yield Piece(file, offset, position, step)
            file, offset, position = file + 1, 0, position + step

    def chunks_of(self, file: int) -> range:
        """Return the indexes of the chunks that hold file number *file*."""
        if self._sizes[file] == 0:
            return range(0)
        last = bisect_right(self._start_file, file)
        first = bisect_left(self._start_file, file)
        if first == last or self._start_offset[first] > 0:
            first -= 1
        return range(first, last)

    def is_single_piece(self, file: int) -> bool:
        """Tell whether file number *file* lies within one chunk."""
        return len(self.chunks_of(file)) == 1

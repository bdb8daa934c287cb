"""Fewer bytes for one chunk of plaintext, and the exact bytes back.

A chunk is a window over files laid end to end: it may start in the middle of a slice,
hold whole files, and end in the middle of a header.  Each chunk is encoded alone, with
one of three codecs; docs/codecs.md specifies the encoded forms to the byte.

- `STORE`: the plaintext itself.
- `ZSTD`: one Zstandard frame (RFC 8878).
- `PLANES`: pixels and signals predicted from their neighbours, the residuals sorted and
  packed; the rest of the chunk as one frame.

Invariants:
- no I/O, no state carried from chunk to chunk: equal chunks encode equally;
- decoding writes into the buffer it is given and nowhere else, allocates no more than
  the announced plaintext calls for, and whatever it is fed raises `CodecError` or
  returns; whether the bytes are the sender's is for the AEAD around them to say;
- NumPy and Zstandard are loaded with the first `Codec`, not with this module.
"""

from medshare.codecs.codec import PLANES, STORE, ZSTD, Codec
from medshare.codecs.effort import Effort

__all__ = ["PLANES", "STORE", "ZSTD", "Codec", "Effort"]

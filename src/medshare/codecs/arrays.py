"""The array types of the codecs; importing this loads NumPy."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Samples = NDArray[np.uint16]
Wide = NDArray[np.int32]
Floats = NDArray[np.float64]

# Little-endian whatever the machine is: samples are read from bytes, and several are put
# into one word.
U16: Final[np.dtype[np.uint16]] = np.dtype("<u2")
U32: Final[np.dtype[np.uint32]] = np.dtype("<u4")
U64: Final[np.dtype[np.uint64]] = np.dtype("<u8")

"""A folder of parcels as sender and recipient see it: what several tests need."""

from pathlib import Path

from medshare.chunk import max_sealed_size
from medshare.ids import ParcelId
from medshare.transport.folder import FolderTransport
from tests.builder import CHUNK_SIZE, Parcel, make_identity, make_parcel, octets

ALICE, BOB, CAROL = (make_identity(name) for name in ("a", "b", "c"))
FILES = {"study/1": octets("one", 3000), "study/2": octets("two", 1500)}
PARCEL = make_parcel(FILES, sender=ALICE, recipients=[BOB])
OTHER = make_parcel(FILES, sender=ALICE, recipients=[BOB], label="other")
UNKNOWN = ParcelId(bytes(16))


class Case:
    """A folder as sender and recipient see it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.a = FolderTransport(root, ALICE.station)
        self.b = FolderTransport(root, BOB.station)

    def announce(self, parcel: Parcel = PARCEL) -> None:
        """Announce *parcel*."""
        self.a.announce(parcel.id, parcel.envelope, parcel.manifest)

    def upload(self, parcel: Parcel = PARCEL) -> None:
        """Store all of *parcel*."""
        self.announce(parcel)
        for index, chunk in enumerate(parcel.chunks):
            self.a.put_chunk(parcel.id, index, memoryview(chunk))
        self.a.put_seal(parcel.id, parcel.seal)

    def chunk(self, index: int, parcel: Parcel = PARCEL) -> bytes:
        """Read a chunk as the recipient does."""
        view = memoryview(bytearray(max_sealed_size(CHUNK_SIZE)))
        return bytes(view[: self.b.get_chunk(parcel.id, index, view)])

    def chunk_file(self, index: int) -> Path:
        """Return where a chunk lies."""
        return self.root / PARCEL.id.hex() / "chunks" / f"{index:08d}"

    def damage(self, index: int) -> None:
        """Flip one bit of a chunk in the folder."""
        data = bytearray(self.chunk_file(index).read_bytes())
        data[100] ^= 4
        self.chunk_file(index).write_bytes(data)

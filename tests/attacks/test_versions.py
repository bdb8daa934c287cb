"""One parcel, several versions of it: by a relay that rolls back, and by a sender that is false."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from medshare.chunking import Layout
from medshare.errors import IntegrityError, MedshareError, TransferError
from medshare.ids import ParcelId
from medshare.seal import parse_seal
from medshare.sharing.receipts import find_receipts, load_receipt
from medshare.sharing.receive import ParcelListing, ReceiveResult, list_waiting, receive
from medshare.suites.base import SoftwareOpener, SoftwareSigner
from medshare.wire import bodies, problems
from tests import builder
from tests.attacks.lies import CBOR, always, changed, flip, on, other, refusal
from tests.attacks.lying_relay import Exchange, Said, honest
from tests.attacks.stage import CHUNK, QUICK, Stage, noise, opened_stage, tree, visible
from tests.fakes import MemoryParcel, MemoryStore, MemoryTransport
from tests.people import Person, make_person
from tests.running_relay import running_relay

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Stations, a relay and a liar."""
    with opened_stage(tmp_path_factory.mktemp("stage")) as found:
        yield found


def test_each_reader_is_served_another_version(stage: Stage) -> None:
    """Bob is served foreign chunks, Carol the true ones: Bob refuses, Carol has the study."""
    study = stage.study()
    parcel = stage.send(study, to=("bob", "carol")).parcel
    chunks = stage.relay.folder(other(stage)) / "chunks"
    bob = stage.bob.station.id.hex()

    def tell(x: Exchange) -> Said:
        if x.asked.route == "get-chunk" and x.asked.station == bob:
            return Said(200, (chunks / f"{x.asked.index:08d}").read_bytes())
        return x.honest()

    stage.liar.be(tell)
    try:
        ended = stage.attempt(lambda: stage.receive(parcel, stage.folder / "bob-1"))
        carol = stage.receive(parcel, stage.folder / "carol-1", by=stage.carol)
    finally:
        stage.liar.be(honest)
    assert ended.code == 3
    assert visible(stage.folder / "bob-1") == {}
    assert visible(carol.output) == tree(study)


@pytest.mark.parametrize("lost", ["everything", "all but the envelope", "the seal", "a chunk"])
def test_a_relay_that_is_rolled_back_is_filled_again(
    stage: Stage, tmp_path: Path, lost: str
) -> None:
    """What was sealed and then forgotten by the relay is restored by the same send."""
    study, output = stage.study(), tmp_path / "out"
    sent = stage.send(study)
    earlier = tmp_path / "relay"
    shutil.copytree(stage.relay.data, earlier)
    forget(earlier, sent.parcel, lost)
    behind = stage.liar.behind
    try:
        with running_relay(earlier, names=stage.names) as relay:
            stage.liar.behind = stage.address(relay.url)
            ended = stage.attempt(lambda: stage.receive(sent.parcel, output, options=QUICK))
            assert ended.code in {3, 5}
            assert visible(output) == {}
            again = stage.send(study)
            stage.receive(sent.parcel, output)
            done = stage.send(study)
    finally:
        stage.liar.behind = behind
    assert visible(output) == tree(study)
    assert (again.parcel, done.missing_receipts) == (sent.parcel, ())


def forget(data: Path, parcel: ParcelId, lost: str) -> None:
    """Let the relay in the folder *data* forget a part of *parcel*."""
    folder = data / "parcels" / parcel.hex()
    if lost == "everything":
        shutil.rmtree(folder)
    elif lost == "all but the envelope":
        shutil.rmtree(folder / "chunks")
        (folder / "chunks").mkdir(mode=0o700)
        (folder / "seal").unlink()
        (folder / "manifest").unlink()
    else:
        (folder / {"the seal": "seal", "a chunk": "chunks/00000002"}[lost]).unlink()
    for path in data.glob("relay.sqlite3*"):
        path.unlink()


# --- the inbox ------------------------------------------------------------------------------


def inbox_of(*parcels: ParcelId) -> Said:
    """Return an inbox that lists *parcels*."""
    return Said(200, bodies.encode_inbox(parcels, following=0), CBOR)


def test_an_inbox_of_inventions_shows_nothing_as_verified(stage: Stage) -> None:
    """Parcels that do not exist, or are for somebody else, are never listed as good."""
    foreign = stage.send(stage.study(), to=("carol",)).parcel
    stage.liar.be(on("inbox", always(inbox_of(ParcelId(b"i" * 16), foreign))))
    listings: tuple[ParcelListing, ...] = ()
    try:
        with suppress(TransferError):
            listings = list_waiting(
                identity=stage.bob.identity,
                station=stage.bob.station,
                transport=stage.transport(stage.bob),
            )
    finally:
        stage.liar.be(honest)
    assert all(one.manifest is None and one.fault is not None for one in listings)


def test_a_listing_with_a_forged_manifest_shows_the_fault(stage: Stage) -> None:
    """What cannot be verified is listed as a fault, without any name out of it."""
    parcel = stage.send(stage.study()).parcel
    lie = on("get-manifest", changed(flip(0.5)))
    stage.liar.be(lambda x: inbox_of(parcel) if x.asked.route == "inbox" else lie(x))
    try:
        (listing,) = list_waiting(
            identity=stage.bob.identity,
            station=stage.bob.station,
            transport=stage.transport(stage.bob),
        )
    finally:
        stage.liar.be(honest)
    assert listing.manifest is None
    assert isinstance(listing.fault, IntegrityError)


def test_an_inbox_without_end_ends(stage: Stage) -> None:
    """Pages that always name a next one are read up to a bound."""

    def tell(x: Exchange) -> Said:
        page = bodies.encode_inbox([ParcelId(x.number.to_bytes(16))], following=x.number + 1)
        return Said(200, page, CBOR)

    stage.liar.be(on("inbox", tell))
    try:
        ended = stage.transport(stage.bob).inbox()
    finally:
        pages = stage.liar.asked_for("inbox")
        stage.liar.be(honest)
    assert len(ended) == pages <= 256


def test_no_redirect_is_followed(stage: Stage) -> None:
    """T29: rclone GHSA-8mxv-…, LocalSend: where a redirect points to, nobody calls."""
    with running_relay(stage.folder / "elsewhere") as elsewhere:
        fields = (("Location", elsewhere.url + "/v1/inbox"), ("Content-Length", "0"))
        for number in (301, 302, 303, 307, 308):
            stage.liar.be(always(Said(number, b"", fields=fields)))
            try:
                with pytest.raises(MedshareError):
                    stage.transport(stage.bob).inbox()
            finally:
                stage.liar.be(honest)
        assert stage.liar.connections == 0
        assert list((stage.folder / "elsewhere/parcels").iterdir()) == []


def test_a_refusal_cannot_command_the_terminal(stage: Stage) -> None:
    """T36: control characters in a relay's sentence are replaced before anybody sees them."""
    said = refusal(403, problems.FORBIDDEN)
    evil = said.body.replace(b"so it is", b"\\u001b]52;c;eA==\\u0007\\u202e\\r\\nok")
    stage.liar.be(always(replace(said, body=evil)))
    try:
        with pytest.raises(MedshareError) as caught:
            stage.transport(stage.bob).inbox()
    finally:
        stage.liar.be(honest)
    assert caught.value.message.isprintable()


# --- a false sender -----------------------------------------------------------------------------


def as_builder(person: Person) -> builder.Identity:
    """Return *person* in the form that the builder of parcels takes."""
    signers = tuple(one for one in person.identity.signers if isinstance(one, SoftwareSigner))
    openers = tuple(one for one in person.identity.openers if isinstance(one, SoftwareOpener))
    name = person.station.card.current.name
    return builder.Identity(name, person.identity.card, signers, openers)


@pytest.fixture
def false(tmp_path: Path) -> tuple[dict[str, Person], builder.Parcel, builder.Parcel]:
    """Stations, and two versions of one parcel: one envelope, two contents, two seals."""
    people = {name: make_person(tmp_path / name, name.title()) for name in ("a", "b", "c")}
    for reader in ("b", "c"):
        people[reader].trust(people["a"], "alice")
    sender = as_builder(people["a"])
    readers = [as_builder(people["b"]), as_builder(people["c"])]
    files = {"ct/1.dcm": noise("first", 3000)}
    one = builder.make_parcel(files, sender=sender, recipients=readers, chunk_size=CHUNK)
    other_files = {"ct/1.dcm": noise("second", 3000)}
    layout = Layout([3000], CHUNK)
    chunks, digests = builder.pack(other_files, one.facts, layout, one.key, one.chunk_signer)
    sealed, seal = builder.make_seal(one.facts, digests, sender.signers)
    two = replace(one, chunks=chunks, seal=seal, sealed=sealed, files=other_files)
    return people, one, two


def serving(parcel: builder.Parcel, person: Person) -> MemoryTransport:
    """Return a far side that serves *parcel* to *person*, and colludes with its sender."""
    store = MemoryStore()
    stored = MemoryParcel(parcel.envelope, parcel.manifest)
    for index, chunk in enumerate(parcel.chunks):
        stored.chunks[index] = chunk
        stored.records[index] = stored.verifier.check(index, chunk)
    stored.seal = parcel.seal
    store.parcels[parcel.id] = stored
    return MemoryTransport(store, person.station.id)


def receive_version(parcel: builder.Parcel, person: Person, output: Path) -> ReceiveResult:
    """Let *person* receive what is served as *parcel*."""
    return receive(
        parcel.id,
        identity=person.identity,
        station=person.station,
        transport=serving(parcel, person),
        output=output,
        options=QUICK,
    )


def test_a_sender_with_two_seals_is_exposed_by_the_receipts(
    tmp_path: Path, false: tuple[dict[str, Person], builder.Parcel, builder.Parcel]
) -> None:
    """Two readers of one parcel who got different contents hold receipts that show it."""
    people, one, two = false
    bob = receive_version(one, people["b"], tmp_path / "out-b")
    carol = receive_version(two, people["c"], tmp_path / "out-c")
    assert visible(bob.output) == one.files
    assert visible(carol.output) == two.files
    receipts = [load_receipt(got.receipt_file) for got in (bob, carol)]
    assert receipts[0].parcel == receipts[1].parcel
    assert receipts[0].seal != receipts[1].seal
    assert receipts[0].files != receipts[1].files


def test_a_mixture_of_two_versions_is_refused(
    tmp_path: Path, false: tuple[dict[str, Person], builder.Parcel, builder.Parcel]
) -> None:
    """Chunks of one version under the seal of the other, both signed by the sender: refused."""
    people, one, two = false
    spliced = [*two.chunks[:1], *one.chunks[1:]]
    for mixed in (replace(one, seal=two.seal), replace(one, chunks=spliced)):
        output = tmp_path / "out"
        with pytest.raises(IntegrityError):
            receive_version(mixed, people["b"], output)
        assert visible(output) == {}


def test_what_was_verified_is_not_receipted_under_another_seal(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    false: tuple[dict[str, Person], builder.Parcel, builder.Parcel],
) -> None:
    """Interrupted before its receipt, a receiver is served a second seal: it signs nothing."""
    people, one, two = false
    assert parse_seal(one.seal, one.facts).digest != parse_seal(two.seal, two.facts).digest

    def down(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MemoryTransport, "put_receipt", down)
        patch.setattr("medshare.sharing.delivery.keep_receipt", down)
        with pytest.raises(KeyboardInterrupt):
            receive_version(one, people["b"], tmp_path / "out")
    assert visible(tmp_path / "out") == one.files
    with pytest.raises(IntegrityError, match="another seal"):
        receive_version(two, people["b"], tmp_path / "out")
    assert visible(tmp_path / "out") == one.files
    assert list(people["b"].station.receipts().iterdir()) == []
    receive_version(one, people["b"], tmp_path / "out")
    assert find_receipts(people["b"].station, one.id)[0].seal == one.sealed.digest

"""The floor: the least that any sealed, hashed transfer must do, and nothing else.

Two processes on loopback, a few worker threads in each, one TLS 1.3 connection a worker.  Sender:
read, BLAKE3, AES-256-GCM, BLAKE3, send.  Receiver: receive, BLAKE3, decrypt, BLAKE3, write.
Buffers are allocated once; chunks have 4 MiB.  There is no format, no signature, no journal, no
relay and no fsync.  What medshare costs beyond this is the price of its promises, and is reported
as a ratio to it, from the same run.

With `--relay`, a third process stands between the two: receive, BLAKE3, write, send.  It is the
least that a way through a relay costs: one more leg of TLS, one more hash, one more file.

    python -m benchmarks.floor --size 1GiB --workers 2 --runs 3
"""

import argparse
import datetime
import ipaddress
import itertools
import json
import os
import resource
import socket
import ssl
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.measure import MIB, Program, machine, wait_for_all
from medshare.disk.atomic import WRITE_STEP

ROOT = Path(__file__).resolve().parent.parent
CHUNK = 4 * MIB
TAG = 16
HEADER = struct.Struct(">QI32s")
"""Number of the chunk, octets of ciphertext, their BLAKE3."""
END = bytes(HEADER.size)
TCP_BYTES_RECEIVED = 128
"""Offset of `tcpi_bytes_received` in Linux' `struct tcp_info`."""


@dataclass(frozen=True, slots=True)
class Task:
    """What both ends know."""

    folder: Path
    size: int
    workers: int

    @property
    def key(self) -> AESGCM:
        """The key of this run."""
        return AESGCM((self.folder / "key").read_bytes())

    @property
    def chunks(self) -> int:
        """How many chunks the file has."""
        return -(-self.size // CHUNK)


class Costs:
    """CPU seconds and the clock since all connections stood."""

    def __init__(self, workers: int) -> None:
        self._all_connected = threading.Barrier(workers, self._start)
        self._lock = threading.Lock()
        self._wire = 0
        self.start = self._cpu = 0.0

    def _start(self) -> None:
        self.start, self._cpu = time.monotonic(), _cpu()

    def connected(self) -> None:
        """Wait until every worker has its connection; the clock starts then."""
        self._all_connected.wait()

    def add(self, link: ssl.SSLSocket) -> None:
        """Count what a connection has brought in, TLS included."""
        info = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_BYTES_RECEIVED + 8)
        with self._lock:
            self._wire += struct.unpack_from("=Q", info, TCP_BYTES_RECEIVED)[0]

    def report(self, digests: list[bytes]) -> None:
        """Print everything as one JSON object."""
        figures = {
            "start": self.start,
            "end": time.monotonic(),
            "cpu": _cpu() - self._cpu,
            "wire_bytes": self._wire,
            "content": blake3(b"".join(digests)).hexdigest(),
        }
        print(json.dumps(figures))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def send(task: Task, port: int) -> None:
    """Send the file `source` to *port*, and report the costs."""
    context = _client_tls(task)
    key, costs, numbers = task.key, Costs(task.workers), itertools.count()
    digests = [b""] * task.chunks
    file = os.open(task.folder / "source", os.O_RDONLY)

    def work() -> None:
        plain, sealed = bytearray(CHUNK), bytearray(HEADER.size + CHUNK + TAG)
        with (
            socket.create_connection(("127.0.0.1", port)) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1") as link,
        ):
            costs.connected()
            while (number := next(numbers)) < task.chunks:
                size = os.preadv(file, [plain], number * CHUNK)
                data, body = (
                    memoryview(plain)[:size],
                    memoryview(sealed)[: HEADER.size + size + TAG],
                )
                digests[number] = blake3(data).digest()
                key.encrypt_into(_nonce(number), data, None, body[HEADER.size :])
                digest = blake3(body[HEADER.size :]).digest()
                HEADER.pack_into(sealed, 0, number, size + TAG, digest)
                link.sendall(body)
            link.sendall(END)
            link.recv(1)
            costs.add(link)

    _run(task.workers, work)
    os.close(file)
    costs.report(digests)


def receive(task: Task, listener: socket.socket) -> None:
    """Write what arrives at *listener* to the file `target`, and report the costs."""
    context = _server_tls(task)
    key, costs = task.key, Costs(task.workers)
    digests = [b""] * task.chunks
    file = os.open(task.folder / "target", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.posix_fallocate(file, 0, task.size)

    def work() -> None:
        plain, sealed = bytearray(CHUNK), bytearray(CHUNK + TAG)
        header = bytearray(HEADER.size)
        raw, _ = listener.accept()
        with context.wrap_socket(raw, server_side=True) as link:
            costs.connected()
            while _fill(link, memoryview(header)) != END:
                number, length, digest = HEADER.unpack(header)
                body, data = memoryview(sealed)[:length], memoryview(plain)[: length - TAG]
                _fill(link, body)
                if blake3(body).digest() != digest:
                    raise ValueError(f"chunk {number} was damaged")
                key.decrypt_into(_nonce(number), body, None, data)
                digests[number] = blake3(data).digest()
                _write(file, data, number * CHUNK)
            link.sendall(b"\0")
            costs.add(link)

    _run(task.workers, work)
    os.close(file)
    costs.report(digests)


def forward(task: Task, listener: socket.socket, port: int) -> None:
    """Keep what arrives at *listener* in the file `kept`, send it on to *port*, and report."""
    inward, outward, costs = _server_tls(task), _client_tls(task), Costs(task.workers)
    file = os.open(task.folder / "kept", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.posix_fallocate(file, 0, task.chunks * (CHUNK + TAG))

    def work() -> None:
        message = memoryview(bytearray(HEADER.size + CHUNK + TAG))
        accepted, _ = listener.accept()
        with (
            inward.wrap_socket(accepted, server_side=True) as source,
            socket.create_connection(("127.0.0.1", port)) as raw,
            outward.wrap_socket(raw, server_hostname="127.0.0.1") as target,
        ):
            costs.connected()
            header = message[: HEADER.size]
            while _fill(source, header) != END:
                number, length, digest = HEADER.unpack(header)
                body = message[HEADER.size : HEADER.size + length]
                if blake3(_fill(source, body)).digest() != digest:
                    raise ValueError(f"chunk {number} was damaged")
                _write(file, body, number * (CHUNK + TAG))
                target.sendall(message[: HEADER.size + length])
            target.sendall(END)
            target.recv(1)
            source.sendall(b"\0")
            costs.add(source)
            costs.add(target)

    _run(task.workers, work)
    os.close(file)
    costs.report([])


def _write(file: int, data: memoryview, offset: int) -> None:
    """Write in the steps that cost least, for which see `medshare.disk.atomic.WRITE_STEP`."""
    for at in range(0, len(data), WRITE_STEP):
        os.pwrite(file, data[at : at + WRITE_STEP], offset + at)


def _client_tls(task: Task) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(task.folder / "cert.pem"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _server_tls(task: Task) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(task.folder / "cert.pem", task.folder / "key.pem")
    return context


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _fill(link: ssl.SSLSocket, buffer: memoryview) -> memoryview:
    """Fill the buffer and return it."""
    filled = 0
    while filled < len(buffer):
        count = link.recv_into(buffer[filled:])
        if not count:
            raise ConnectionError("the sender has gone")
        filled += count
    return buffer


def _run(workers: int, work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(work) for _ in range(workers)]:
            done.result()


def prepare(folder: Path, size: int) -> None:
    """Write a random source, a key, and a certificate for 127.0.0.1 into the folder."""
    (folder / "key").write_bytes(os.urandom(32))
    with (folder / "source").open("wb") as source:
        for start in range(0, size, CHUNK):
            source.write(os.urandom(min(CHUNK, size - start)))
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "floor")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def start(task: Task, *, relay: bool = False) -> list[Program]:
    """Start all ends: the receiver first, the sender last, with *relay* one more between them."""
    ends = ["receive", "forward", "send"] if relay else ["receive", "send"]
    programs, port = [], 0
    for end in ends:
        words = [str(task.folder), str(task.size), str(task.workers), str(port)]
        command = [sys.executable, "-m", "benchmarks.floor", "--end", end, *words]
        if end == "send":
            programs.append(Program(end, command, cwd=ROOT))
            continue
        with socket.create_server(("127.0.0.1", 0), backlog=task.workers) as listener:
            handle, port = listener.fileno(), listener.getsockname()[1]
            programs.append(Program(end, [*command, str(handle)], cwd=ROOT, pass_fds=[handle]))
    return programs


def run_once(task: Task, *, relay: bool = False) -> dict[str, Any]:
    """Send the file once and return the figures of the run."""
    usages = wait_for_all(start(task, relay=relay))
    told = [json.loads(usage.output) for usage in usages]
    if told[0]["content"] != told[-1]["content"]:
        raise RuntimeError("what arrived is not what was sent")
    (task.folder / "target").unlink()
    (task.folder / "kept").unlink(missing_ok=True)
    return {
        "wall": told[0]["end"] - told[-1]["start"],
        "cpu": sum(one["cpu"] for one in told),
        "wire_bytes": sum(one["wire_bytes"] for one in told),
        "wall_with_startup": max(usage.wall for usage in usages),
        "cpu_with_startup": sum(usage.cpu for usage in usages),
        **{
            usage.name: {**usage.as_json(), "cpu_moving": one["cpu"]}
            for usage, one in zip(usages, told, strict=True)
        },
    }


def run(
    size: int, workers: int, runs: int, folder: Path | None = None, *, relay: bool = False
) -> dict[str, Any]:
    """Return the figures of all runs, and their medians."""
    with tempfile.TemporaryDirectory(prefix="floor-", dir=folder) as temporary:
        task = Task(Path(temporary), size, workers)
        prepare(task.folder, size)
        results = [run_once(task, relay=relay) for _ in range(runs)]
    medians = {
        name: statistics.median(result[name] for result in results)
        for name, value in results[0].items()
        if isinstance(value, int | float)
    }
    return {
        "benchmark": "floor, through a relay" if relay else "floor",
        "size": size,
        "chunk_size": CHUNK,
        "workers": workers,
        "median": medians,
        "runs": results,
    }


def size_in_bytes(text: str) -> int:
    """Return 1073741824 for `1GiB`, 65536 for `64KiB`."""
    for power, unit in enumerate(("KiB", "MiB", "GiB"), start=1):
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * 1024**power)
    return int(text)


def end(arguments: list[str]) -> None:
    """Be one end of a transfer that `start` started."""
    name, folder, size, workers, port, *handle = arguments
    task = Task(Path(folder), int(size), int(workers))
    if name == "send":
        send(task, int(port))
        return
    with socket.socket(fileno=int(handle[0])) as listener:
        if name == "receive":
            receive(task, listener)
        else:
            forward(task, listener, int(port))


def main() -> None:
    """Read the command line, run, and print JSON."""
    if sys.argv[1:2] == ["--end"]:
        end(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description="Measure the bare floor of a sealed transfer.")
    parser.add_argument("--size", type=size_in_bytes, default=1024 * MIB, help="as in 1GiB")
    parser.add_argument("--workers", type=int, default=2, help="threads and connections")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the files lie (default: temporary)")
    parser.add_argument("--relay", action="store_true", help="with a bare relay between the ends")
    given = parser.parse_args()
    figures = run(given.size, given.workers, given.runs, given.folder, relay=given.relay)
    print(json.dumps({"machine": machine(), **figures}, indent=2))


if __name__ == "__main__":
    main()

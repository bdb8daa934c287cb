"""Bodies of 4 MiB between two Python processes over HTTP: which client, which server, at what cost.

Prints JSON: for each pair of client and server the medians of interleaved runs: MiB/s, CPU seconds
a GiB of either process, their peak memory.  `--markdown` prints the same as a table.

`python -m benchmarks.http_path --runs 5 --bodies 192`
"""

import argparse
import http.client
import importlib.util
import json
import os
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measure import MIB, machine
from medshare.transport.pool import PooledTransport, pieces, read_into

SIZE = 4 * MIB
TIMEOUT = 30.0
Work = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One pair of programs and what they do."""

    client: str
    server: str
    method: str
    secure: bool
    connections: int


def _cases() -> list[Case]:
    """Clients against our server, servers against the barest client, and ours with itself."""
    pairs = [
        *[(client, "medshare", 2) for client in ("httpx", "http.client", "medshare", "sockets")],
        ("httpx-h2", "granian-rsgi", 1),
        *[("sockets", server, 2) for server in ("granian-rsgi", "uvicorn", "threads")],
        *[("medshare", "medshare", connections) for connections in (1, 4)],
    ]
    methods = ("PUT", "GET")
    return [
        *[Case(c, s, m, secure=True, connections=n) for c, s, n in pairs for m in methods],
        *[Case("medshare", "medshare", m, secure=False, connections=2) for m in methods],
    ]


class Clients:
    """Ways of asking; each method returns the work of one thread."""

    def __init__(self, url: str, method: str, ca: Path | None) -> None:
        self._url = httpx.URL(url)
        self._method = method
        self._tls = ssl.create_default_context(cafile=ca)
        self._body = os.urandom(SIZE)
        self._http: httpx.Client | None = None

    def work(self, kind: str) -> Work:
        """Return what a thread does: so many bodies by this kind of client."""
        if kind in ("httpx", "httpx-h2"):
            self._http = httpx.Client(verify=self._tls, http2=kind == "httpx-h2", timeout=TIMEOUT)
            return self._by_httpx
        if kind == "medshare":
            transport = PooledTransport(tls=self._tls)
            self._http = httpx.Client(transport=transport, timeout=TIMEOUT)
            return self._by_medshare
        return self._by_http_client if kind == "http.client" else self._by_sockets

    def _by_httpx(self, count: int) -> None:
        client = self._http or httpx.Client()
        into = memoryview(bytearray(SIZE))
        for _ in range(count):
            if self._method == "PUT":
                client.put(self._url, content=self._body).raise_for_status()
                continue
            with client.stream("GET", self._url) as response:
                _require(read_into(response, into))

    def _by_medshare(self, count: int) -> None:
        client = self._http or httpx.Client()
        into = memoryview(bytearray(SIZE))
        body = memoryview(self._body)
        headers = {"Content-Length": str(SIZE)}
        for _ in range(count):
            if self._method == "PUT":
                content = pieces(body[:64], body[64:])
                client.put(self._url, content=content, headers=headers).raise_for_status()
                continue
            with client.stream("GET", self._url) as response:
                _require(read_into(response, into))

    def _by_http_client(self, count: int) -> None:
        host, port = self._url.host, self._url.port
        connection = (
            http.client.HTTPSConnection(host, port, context=self._tls, timeout=TIMEOUT)
            if self._url.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        )
        into = memoryview(bytearray(SIZE))
        for _ in range(count):
            connection.request(
                self._method, "/", body=self._body if self._method == "PUT" else None
            )
            response = connection.getresponse()
            if self._method == "PUT":
                response.read()
                continue
            got = 0
            while got < SIZE and (step := response.readinto(into[got:])):
                got += step
            _require(got)
            response.read()
        connection.close()

    def _by_sockets(self, count: int) -> None:
        address = (self._url.host, self._url.port or 0)
        sock = socket.create_connection(address, TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._url.scheme == "https":
            sock = self._tls.wrap_socket(sock, server_hostname=self._url.host)
        into = memoryview(bytearray(SIZE))
        length = SIZE if self._method == "PUT" else 0
        head = f"{self._method} / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
        for _ in range(count):
            sock.sendall(head)
            sock.sendall(self._body[:length])
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += sock.recv(4096)
            got = len(answer.partition(b"\r\n\r\n")[2])
            while self._method == "GET" and got < SIZE:
                got += sock.recv_into(into[got:])
        sock.close()


def _require(size: int) -> None:
    if size != SIZE:
        raise RuntimeError(f"a body of {SIZE} octets came as {size}")


def ask(case: Case, url: str, ca: Path | None, server: int, bodies: int) -> dict[str, float]:
    """Move *bodies* bodies in this process and return what that cost both."""
    work = Clients(url, case.method, ca).work(case.client)
    _in_threads(work, case.connections, 2)  # connections, buffers, first calls
    before, started = (_cpu(os.getpid()), _cpu(server)), time.perf_counter()
    _in_threads(work, case.connections, bodies // case.connections)
    wall, after = time.perf_counter() - started, (_cpu(os.getpid()), _cpu(server))
    size = bodies // case.connections * case.connections * SIZE
    return {
        "mib_s": size / MIB / wall,
        "client_cpu_s_gib": (after[0] - before[0]) / (size / 1024**3),
        "server_cpu_s_gib": (after[1] - before[1]) / (size / 1024**3),
        "client_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "server_peak_mib": _peak(server) / 1024,
    }


def _in_threads(work: Work, count: int, bodies: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(work, bodies) for _ in range(count)]:
            done.result()


def _cpu(pid: int) -> float:
    """CPU seconds of a process so far, its threads included (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak(pid: int) -> int:
    """KiB of memory of a process at its worst moment."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@contextmanager
def serving(case: Case, folder: Path) -> Iterator[tuple[str, int]]:
    """Run the server of a case; yield its URL and process id."""
    files = [folder / "body", *([folder / "cert", folder / "key"] if case.secure else [])]
    command = [sys.executable, "-m", "benchmarks.http_servers", case.server, *map(str, files)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            url = process.stdout.readline().strip() if process.stdout else ""
            _wait_for(httpx.URL(url))
            yield url, process.pid
        finally:
            process.terminate()


def _wait_for(url: httpx.URL) -> None:
    for _ in range(200):
        try:
            socket.create_connection((url.host, url.port or 0)).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("the server does not listen")


def run(case: Case, folder: Path, bodies: int) -> dict[str, float]:
    """Measure one case in two fresh processes."""
    with serving(case, folder) as (url, pid):
        arguments = [json.dumps(asdict(case)), url, str(folder / "ca"), str(pid), str(bodies)]
        command = [sys.executable, "-m", "benchmarks.http_path", "--ask", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def prepare(folder: Path) -> None:
    """Write a body and certificates."""
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca")
    issued.private_key_pem.write_to_path(folder / "key")
    issued.cert_chain_pems[0].write_to_path(folder / "cert")
    (folder / "body").write_bytes(os.urandom(SIZE))


def measure(runs: int, bodies: int) -> dict[str, Any]:
    """Run all cases *runs* times, one after the other in each round."""
    absent = {"httpx-h2": "h2", "uvicorn": "uvicorn"}
    missing = {kind for kind, name in absent.items() if importlib.util.find_spec(name) is None}
    cases = [case for case in _cases() if not {case.client, case.server} & missing]
    results: dict[Case, list[dict[str, float]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory(prefix="http-path-") as name:
        prepare(Path(name))
        for _ in range(runs):
            for case in cases:
                results[case].append(run(case, Path(name), bodies))
    rows = [
        {
            **asdict(case),
            "median": _medians(figures),
            "lowest_cpu": _lowest(figures),
            "runs": figures,
        }
        for case, figures in results.items()
    ]
    skipped = sorted(missing)
    return {"machine": machine(), "body": SIZE, "bodies": bodies, "skipped": skipped, "cases": rows}


def _medians(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in figures) for name in figures[0]}


def _lowest(figures: Sequence[dict[str, float]]) -> float:
    """CPU seconds a GiB of both ends in the run that other work disturbed least."""
    return min(one["client_cpu_s_gib"] + one["server_cpu_s_gib"] for one in figures)


def markdown(report: dict[str, Any]) -> str:
    """Return the medians as a table."""
    lines = [
        "| client | server | | connections | MiB/s | client CPU-s/GiB | server | lowest | MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in report["cases"]:
        m = case["median"]
        way = f"{case['method']}{' TLS' if case['secure'] else ' plain'}"
        lines.append(
            f"| {case['client']} | {case['server']} | {way} | {case['connections']}"
            f" | {m['mib_s']:.0f} | {m['client_cpu_s_gib']:.2f} | {m['server_cpu_s_gib']:.2f}"
            f" | {case['lowest_cpu']:.2f}"
            f" | {m['client_peak_mib']:.0f} / {m['server_peak_mib']:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--bodies", type=int, default=192)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--ask", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ask:
        case, url, ca, pid, bodies = arguments.ask
        print(json.dumps(ask(Case(**json.loads(case)), url, Path(ca), int(pid), int(bodies))))
        return
    report = measure(arguments.runs, arguments.bodies)
    print(markdown(report) if arguments.markdown else json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

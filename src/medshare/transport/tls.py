"""TLS over a socket, in large steps.

`ssl.SSLSocket` asks the kernel for each record of 16 KiB, twice when it reads.  Here TLS works in
memory (`ssl.MemoryBIO`), and a system call moves up to 256 KiB: some 10% less CPU at this end, and
a peer that is woken less often (docs/decisions/0003-http-path.md).
"""

import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path

STEP = 256 * 1024
"""Octets of plaintext encrypted, or of ciphertext received, between two system calls."""


def client_tls(ca_file: Path | None = None, *, protocol: str | None = "http/1.1") -> ssl.SSLContext:
    """Return the settings for TLS 1.2 or newer, host names and certificates always checked.

    Trusts *ca_file* alone when it is given, the system's authorities otherwise; offers
    *protocol* (RFC 7301), where what is spoken has a name there.
    """
    tls = ssl.create_default_context(cafile=ca_file)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.options |= ssl.OP_NO_RENEGOTIATION
    if protocol is not None:
        tls.set_alpn_protocols([protocol])
    return tls


class Traffic:
    """Octets that have crossed any of some connections, in both directions; only grows."""

    def __init__(self) -> None:
        self.octets = 0
        self._lock = threading.Lock()

    def add(self, octets: int) -> None:
        """Count *octets* more."""
        with self._lock:
            self.octets += octets


class PlainStream:
    """A connected socket without TLS; what crosses it counts as *traffic*."""

    def __init__(self, sock: socket.socket, traffic: Traffic | None = None) -> None:
        self._sock = sock
        self._traffic = traffic or Traffic()
        self._seconds: float | None = None
        self._until: float | None = None

    def set_timeout(self, seconds: float | None, *, until: float | None = None) -> None:
        """Give up, with TimeoutError, after so long without any progress.

        At *until*, of the monotonic clock, it is over in any case: a peer that hands out one
        octet at a time makes progress for ever.
        """
        self._seconds, self._until = seconds, until
        self._sock.settimeout(seconds)

    def send(self, view: memoryview) -> int:
        """Send some octets from the beginning of *view*; return how many."""
        self._await_turn()
        count = self._sock.send(view)
        self._traffic.add(count)
        return count

    def send_all(self, view: memoryview) -> None:
        """Send all of *view*; the time limit is for each step, however slow the line."""
        while view:
            view = view[self.send(view) :]

    def receive_into(self, view: memoryview) -> int:
        """Receive some octets into *view*; return how many, 0 when the peer has closed."""
        self._await_turn()
        count = self._sock.recv_into(view)
        self._traffic.add(count)
        return count

    def _await_turn(self) -> None:
        """Let the next call on the socket end no later than it must; raise TimeoutError."""
        if self._until is not None:
            left = self._until - time.monotonic()
            if left <= 0:
                raise TimeoutError("too slow in all")
            self._sock.settimeout(left if self._seconds is None else min(left, self._seconds))

    def has_input(self) -> bool:
        """Say whether octets, or the end of them, have come unasked."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))

    def abort(self) -> None:
        """Make what another thread does on the stream fail at once; raise OSError if it is over."""
        self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket back."""
        self._sock.close()


class TlsStream(PlainStream):
    """A connected socket that speaks TLS as a client; made by `open`."""

    def __init__(
        self,
        sock: socket.socket,
        tls: ssl.SSLContext,
        host: str,
        traffic: Traffic | None = None,
    ) -> None:
        super().__init__(sock, traffic)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._received = memoryview(bytearray(STEP))

    def handshake(self) -> None:
        """Agree on keys; raise ssl.SSLError when the peer is not who it should be."""
        done = False
        while not done:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                self._flush()
                self._fetch()
            except ssl.SSLError:
                self._flush()  # so that the peer learns why
                raise
        self._flush()

    def send(self, view: memoryview) -> int:
        """Encrypt and send up to `STEP` octets; all that is counted was sent."""
        count = self._tls.write(view[:STEP])
        self._flush()
        return count

    def farewell(self) -> None:
        """Say that no more will come, and wait until the peer has read that far.

        One that says nothing more in turn, or hangs up without a word, has had it all.  Raises
        OSError when the peer breaks off, ssl.SSLError when it says why: under TLS 1.3 it judges
        the certificate of who calls only after all may have been sent (RFC 8446, section 4.4.2),
        and `ssl.SSLSocket.unwrap` takes that alert for a farewell.
        """
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()
        with suppress(TimeoutError):
            while self.receive_into(self._received):
                pass

    def receive_into(self, view: memoryview) -> int:
        """Receive some octets, as many records as are here, into *view*; 0 when all is over."""
        got = 0
        while view and not got:
            try:
                while got < len(view):
                    count = int(self._tls.read(len(view) - got, view[got:]))
                    if not count:  # the peer has said goodbye
                        return got
                    got += count
            except ssl.SSLWantReadError:
                if not got:
                    self._flush()  # answers to what the peer asks of TLS itself
                    self._fetch()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                break
        return got

    def has_input(self) -> bool:
        """Say whether octets, or the end of them, have come unasked."""
        return bool(self._incoming.pending or self._tls.pending()) or super().has_input()

    def _fetch(self) -> None:
        count = super().receive_into(self._received)
        if count:
            self._incoming.write(self._received[:count])
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        if self._outgoing.pending:
            view = memoryview(self._outgoing.read())
            while view:
                view = view[super().send(view) :]

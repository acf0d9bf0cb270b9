"""What others send to this process's own TCP addresses and nobody has read yet: bounded, and so is who may connect.

ZeroMQ bounds how many whole messages wait, and how large a part of one is. A message whose parts never end it takes in
for ever, and a connection over which nothing comes it keeps. The kernel counts what came over each connection: where
that is too much more than what was read of it, or there are too many, a thread ends them.
"""

import contextlib
import fcntl
import logging
import os
import resource
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import zmq

log = logging.getLogger(__name__)

# A part's own frame on the wire, encrypted, is smaller: so what was read is never counted as less than it was.
_OVERHEAD = 64
# Of ZeroMQ's protocol: who has sent more speaks it.
_GREETING = 64
# Of a message, each as large as it may be.
_PARTS = 2
# Messages beside those that wait, of one connection: one that comes, one that is read.
_UNDER_WAY = 4
_ESTABLISHED = 1
# In `struct tcp_info` of Linux: the state, and bytes received.
_STATE_AT, _RECEIVED_AT = 0, 128
_INFO_SIZE = _RECEIVED_AT + 8


@dataclass(frozen=True, kw_only=True)
class InflowSettings:
    """`most_connections` to an address: more than a rig's grabbers, subscribers and viewers. Every `look_s`, and no
    more than a tenth of the time, the thread looks; it names who is ended every `said_s`. All in seconds."""

    most_connections: int = 128
    look_s: float = 0.1
    said_s: float = 10.0


@dataclass(kw_only=True)
class _Connection:
    """Bytes. `seen`: what had been read of its descriptor, also by who had that before; `read`: what of its own.
    `taken`: what ZeroMQ has of it, read or not, and `taken_before` when the thread looked last."""

    peer: tuple
    born_s: float
    seen: int
    read: int = 0
    taken: int = 0
    taken_before: int = 0

    @property
    def unread(self) -> int:
        return self.taken - self.read

    @property
    def standing(self) -> tuple:
        """The first of these are ended first: who said nothing, and came long ago."""
        return self.read > 0, self.taken > _GREETING, self.born_s


class Inflow:
    """Of one socket. `read` and `read_all` are called by its owner, `look` by the thread."""

    def __init__(
        self, largest: int, backlog: int, connections: int, settings: InflowSettings = InflowSettings()
    ) -> None:
        """Of a connection a `backlog` of messages of `largest` bytes may wait, and all together as much as of so many
        `connections`; while nothing waits, one message may be on its way."""
        self._most_on_the_way = _PARTS * largest
        self._most_bytes = (backlog + _UNDER_WAY) * largest
        self._most_in_all = self._most_bytes * connections
        self._settings = settings
        self._read: dict[int, int] = {}
        self._connections: dict[int, _Connection] = {}
        self._read_all_s = self._looked_s = self._said_s = float("-inf")
        self.ended = 0
        """How many connections were."""

    def watch(self, address: str) -> None:
        """An address that is bound. Of this host's private sockets there is nothing to bound."""
        if address.startswith("tcp://"):
            _watcher.add(int(address.rpartition(":")[2]), self)

    def read(self, parts: Sequence[zmq.Frame]) -> None:
        """A whole message was read."""
        with contextlib.suppress(zmq.ZMQError):
            descriptor = parts[0].get(zmq.SRCFD)
            size = sum(len(part) + _OVERHEAD for part in parts)
            self._read[descriptor] = self._read.get(descriptor, 0) + size

    def read_all(self) -> None:
        """No whole message waits: what came before and was not read is of one that is not whole."""
        self._read_all_s = time.monotonic()

    def close(self) -> None:
        _watcher.remove(self)

    def look(self, found: Sequence["_Found"]) -> None:
        """What there is of connections now."""
        now_s, nothing_waits = time.monotonic(), self._read_all_s > self._looked_s
        known: dict[int, _Connection] = {}
        for each in found:
            read, connection = self._read.get(each.descriptor, 0), self._connections.get(each.descriptor)
            if connection is None or connection.peer != each.peer:
                seen = connection.seen if connection else 0
                connection = _Connection(peer=each.peer, born_s=now_s, seen=seen)
            connection.taken_before, connection.taken = connection.taken, each.taken
            # No more than came: a connection cannot save up what it may have unread.
            connection.read = min(connection.read + read - connection.seen, each.taken)
            connection.seen = read
            known[each.descriptor] = connection
        for descriptor in self._connections.keys() - known.keys():
            self._read.pop(descriptor, None)
        self._connections, self._looked_s = known, now_s
        self._end_those_over(now_s, nothing_waits)

    def _end_those_over(self, now_s: float, nothing_waits: bool) -> None:
        over = [each for each in self._connections if self._is_over(self._connections[each], nothing_waits)]
        left = sorted(self._connections.keys() - set(over), key=lambda each: self._connections[each].unread)
        unread = sum(self._connections[each].unread for each in left)
        while left and unread > self._most_in_all:
            over.append(left.pop())
            unread -= self._connections[over[-1]].unread
        for descriptor in over:
            told = f"sent {self._connections[descriptor].unread / 1e6:.1f} MB that are no message, or too many at once"
            self._end(descriptor, told, now_s)
        left.sort(key=lambda each: self._connections[each].standing)
        for descriptor in left[: max(0, len(left) - self._settings.most_connections)]:
            told = f"is one of more than {self._settings.most_connections} connections, and says nothing"
            self._end(descriptor, told, now_s)

    def _is_over(self, connection: _Connection, nothing_waits: bool) -> bool:
        on_the_way = connection.taken_before - connection.read if nothing_waits else 0
        return connection.unread > self._most_bytes or on_the_way > self._most_on_the_way

    def _end(self, descriptor: int, why: str, now_s: float) -> None:
        connection = self._connections[descriptor]
        with contextlib.suppress(OSError), _borrowed(descriptor) as there:
            if there.getpeername() == connection.peer:
                there.shutdown(socket.SHUT_RDWR)
        self.ended += 1
        if now_s - self._said_s > self._settings.said_s:
            self._said_s = now_s
            log.warning("%s %s: its connection is ended", connection.peer[0], why)


@dataclass(frozen=True)
class _Found:
    """An open connection; `taken` bytes of it ZeroMQ has, read or not."""

    descriptor: int
    peer: tuple
    taken: int


class _Watcher:
    """The thread, for all sockets of the process: there while there are some."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, Inflow] = {}
        self._runs = False

    def add(self, port: int, inflow: Inflow) -> None:
        with self._lock:
            self._watched[port] = inflow
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name="inflow", daemon=True).start()

    def remove(self, inflow: Inflow) -> None:
        with self._lock:
            self._watched = {port: each for port, each in self._watched.items() if each is not inflow}

    def _run(self) -> None:
        while True:
            with self._lock:
                watched = dict(self._watched)
                self._runs = bool(watched)
            if not watched:
                return
            began_s = time.monotonic()
            found: dict[int, list[_Found]] = {port: [] for port in watched}
            for port, each in _connections(found):
                found[port].append(each)
            for port, inflow in watched.items():
                inflow.look(found[port])
            time.sleep(max(InflowSettings().look_s, 9 * (time.monotonic() - began_s)))


_watcher = _Watcher()


def _connections(ports: dict[int, list[_Found]]) -> Iterator[tuple[int, _Found]]:
    """This process's connections to its own ports."""
    for descriptor in _descriptors():
        with contextlib.suppress(OSError, struct.error), _borrowed(descriptor) as there:
            if there.family not in (socket.AF_INET, socket.AF_INET6) or there.getsockname()[1] not in ports:
                continue
            told = there.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
            if told[_STATE_AT] != _ESTABLISHED:
                continue
            (received,) = struct.unpack_from("=Q", told, _RECEIVED_AT)
            (waiting,) = struct.unpack("=i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))
            yield there.getsockname()[1], _Found(descriptor, there.getpeername(), received - waiting)


def _descriptors() -> Iterator[int]:
    try:
        yield from map(int, os.listdir("/proc/self/fd"))
    except OSError:  # there is none left to look with
        yield from range(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


@contextlib.contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    """Another's socket, which stays open. Raises OSError for what is none."""
    there = socket.socket(fileno=descriptor)
    try:
        yield there
    finally:
        there.detach()

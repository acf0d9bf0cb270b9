"""ZeroMQ sockets, one class per delivery guarantee. The only module that knows zmq, with `clock` and `keys` beside it.

| class | guarantee |
| --- | --- |
| Publisher, Subscriber | bounded stream: in order; a slow subscriber loses messages and slows nobody |
| Publisher(waits=True) | the same, but the publisher waits for a slow subscriber: replay only |
| NewestPublisher | the newest message only: a slow subscriber that sets CONFLATE gets nothing old |
| CommandServer, CommandClient | reliable command: one request, one reply, or an error in time |

Sockets bind to `ipc://` in a private folder or to loopback; any other address needs CURVE keys (`app.transport.keys`).
"""

import contextlib
import ipaddress
import os
import socket as os_socket
import stat
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import zmq

from app.transport.allowance import Allowance
from app.transport.inflow import Inflow
from app.transport.keys import Keys
from app.transport.messages import Message, MessageRefused, decode, decode_plain, decode_request, encode, encode_plain
from app.transport.strangers import Strangers
from calibration.errors import UserError

# A header is a few hundred bytes, so this bounds a lost subscriber's backlog to well under a megabyte.
HEADER_BACKLOG = 256
_WAIT_MS = 100
# No message is larger: a raw frame of 8K is 100 MB, a request a few hundred bytes. ZeroMQ ends the connection of a peer
# that sends a larger one, before it is read.
_LARGEST_FRAME = 128 << 20
_LARGEST_REQUEST = 64 << 10
# A frame sent over the network is megabytes: two may wait, the third is dropped, so latency stays bounded.
PAYLOAD_BACKLOG = 2
_MOST_PARTS = 2
# Who asks waits for the answer.
_REQUEST_BACKLOG = 4
# Of several whose messages may all wait.
_CONNECTIONS = 16
# Of all machines that ask: each does twice a second.
_REQUESTS_PER_S = 500
# While there is something that may not be read yet.
_PAUSE_S = 0.005


def ipc_address(path: Path) -> str:
    return f"ipc://{path}"


def host_in_url(host: str) -> str:
    """A host as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def is_host(host: str) -> bool:
    """Whether it can be a host's name or number: between its dots there are 1 to 63 letters."""
    try:
        return bool(host.encode("idna"))
    except UnicodeError:
        return False


def is_loopback(address: str) -> bool:
    """Whether an address can be reached from this host only."""
    try:
        parts = urlsplit(address)
    except ValueError:  # half a bracket
        return False
    if parts.scheme in ("ipc", "inproc"):
        return True
    host = (parts.hostname or "").strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(address: str, keys: Keys | None, of_grabbers: bool = False) -> None:
    """Raises UserError for an address that is none, or that others can reach while no keys are given. One
    `of_grabbers` has a port, and the next is used too."""
    try:
        parts = urlsplit(address)
        good = parts.scheme == "ipc" and bool(parts.path or parts.netloc) and not of_grabbers
        good = good or (parts.scheme == "tcp" and is_host(parts.hostname or "") and parts.port is not None)
    except ValueError:
        good = False
    if not good:
        raise UserError(f"`{address}` is no address. Give tcp://HOST:PORT, for example tcp://192.168.0.10:5600.")
    parts = urlsplit(address)
    if parts.scheme == "tcp" and not 0 <= (parts.port or 0) < 65535:
        raise UserError(f"`{address}`: the port must be below 65535, since the next one is used too.")
    if keys is None and not is_loopback(address):
        raise UserError(
            f"`{address}` can be reached from the network, and no keys were given. Make keys with "
            "`usthand keys DIR` on the worker's machine, copy `worker.key` and `grabber.key_secret` to the one that "
            "grabs, and give `--keys DIR` on both; or use tcp://127.0.0.1:PORT."
        )


def check_listen(address: str, keys: Keys | None = None, of_grabbers: bool = False) -> None:
    """As `check_address`, of one to listen on: raises UserError where another program does, before a run starts."""
    check_address(address, keys, of_grabbers)
    if address.startswith("ipc://"):
        _check_ipc(Path(address.removeprefix("ipc://")))
        return
    parts = urlsplit(address)
    family = os_socket.AF_INET6 if "[" in address else os_socket.AF_INET
    with contextlib.suppress(os_socket.gaierror), os_socket.socket(family) as probe:  # ZeroMQ knows names of interfaces
        probe.setsockopt(os_socket.SOL_SOCKET, os_socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.hostname, parts.port))
        except os_socket.gaierror:
            raise
        except OSError as error:
            raise _cannot_listen(address, error.strerror) from None
    if of_grabbers and parts.port:
        check_listen(next_port(address), keys)


def _cannot_listen(address: str, why: str | None) -> UserError:
    return UserError(f"cannot listen on `{address}`: {why}. Give another address or port.")


def _bind(socket: zmq.Socket, address: str, inflow: Inflow, keys: Keys | None = None) -> str:
    """Returns the address bound, with the port that the system chose for port 0."""
    if keys is not None:
        keys.serve(socket)
    if address.startswith("ipc://"):
        _check_ipc(Path(address.removeprefix("ipc://")))
    _prepare(socket, address)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise _cannot_listen(address, error.strerror) from None
    bound = socket.get_string(zmq.LAST_ENDPOINT)
    inflow.watch(bound)
    return bound


def _connect(socket: zmq.Socket, address: str, keys: Keys | None) -> None:
    if keys is not None:
        keys.join(socket)
    _prepare(socket, address)
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        raise UserError(f"cannot connect to `{address}`: {error.strerror}. Give another address.") from None


def _check_ipc(path: Path) -> None:
    """ZeroMQ removes what is there and takes its place: only a socket that nobody listens at may be removed."""
    try:
        kind = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(kind):
        raise UserError(f"cannot listen on `ipc://{path}`: there is a file of that name. Give another path.")
    with os_socket.socket(os_socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        raise UserError(f"cannot listen on `ipc://{path}`: another program does. Give another path.")


def _prepare(socket: zmq.Socket, address: str) -> None:
    """An address such as tcp://[::1]:5555 needs IPv6."""
    if "[" in address:
        socket.set(zmq.IPV6, 1)


class Publisher:
    """Bounded stream out. Binds (`bind`) for subscribers on this host or connects (`connect`) to one that binds."""

    def __init__(self, backlog: int = HEADER_BACKLOG, keys: Keys | None = None, waits: bool = False) -> None:
        self._socket = zmq.Context.instance().socket(zmq.XPUB)
        self._socket.set(zmq.SNDHWM, backlog)
        self._socket.set(zmq.LINGER, 200)
        self._socket.set(zmq.XPUB_VERBOSER, 1)
        self._socket.set(zmq.MAXMSGSIZE, _LARGEST_REQUEST)
        if waits:
            self._socket.set(zmq.XPUB_NODROP, 1)
            self._socket.set(zmq.LINGER, -1)
        self._waits = waits
        self._keys = keys
        self._subscribers = 0
        self._inflow = Inflow(_LARGEST_REQUEST, 0, _CONNECTIONS)

    def bind(self, address: str) -> str:
        """Returns the address bound, with the port that the system chose for port 0."""
        return _bind(self._socket, address, self._inflow, self._keys)

    def connect(self, address: str) -> None:
        _connect(self._socket, address, self._keys)

    def send(
        self,
        message: Message,
        payload: bytes | memoryview | None = None,
        copy: bool = False,
        give_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """Publish; a payload follows as the second part, without a copy unless `copy` is set: leave it unchanged.

        One that `waits` does so for its slowest subscriber, until `give_up` says True.
        """
        parts: list[bytes | memoryview] = [encode(message)]
        if payload is not None:
            parts.append(payload)
        self.subscribers()
        if not self._waits:
            self._socket.send_multipart(parts, copy=copy or payload is None)
            return
        while not give_up():
            try:
                self._socket.send_multipart(parts, zmq.NOBLOCK)
                return
            except zmq.Again:
                self._socket.poll(_WAIT_MS, zmq.POLLOUT)

    def send_parts(self, parts: Sequence[bytes]) -> None:
        """Bytes that need be no message, for those who try what others make of them."""
        self._socket.send_multipart(parts)

    def subscribers(self) -> int:
        """How many subscribers there are now."""
        while self._socket.poll(0):
            event = self._socket.recv()
            # A peer may send anything; what begins otherwise is none of ours.
            self._subscribers += {b"\x01": 1, b"\x00": -1}.get(event[:1], 0)
        return self._subscribers

    def close(self) -> None:
        self._inflow.close()
        self._socket.close()


class NewestPublisher:
    """Sends the newest of what it is given to each subscriber: what is older and still waits is replaced."""

    def __init__(self, address: str) -> None:
        self._socket = zmq.Context.instance().socket(zmq.PUB)
        self._socket.set(zmq.CONFLATE, 1)
        self._socket.set(zmq.LINGER, 200)
        self._socket.set(zmq.MAXMSGSIZE, _LARGEST_REQUEST)
        self._inflow = Inflow(_LARGEST_REQUEST, 0, _CONNECTIONS)
        self.address = _bind(self._socket, address, self._inflow)

    def send(self, message: Message) -> None:
        self._socket.send(encode(message))

    def close(self) -> None:
        self._inflow.close()
        self._socket.close()


class Subscriber:
    """Bounded stream in, from one or many publishers; lost ones are found again when they come back."""

    def __init__(
        self,
        backlog: int = HEADER_BACKLOG,
        keys: Keys | None = None,
        allowance: Allowance | None = None,
        largest: int = _LARGEST_FRAME,
        connections: int = 1,
    ) -> None:
        """With an `allowance` no more messages than that are read, and their first parts are small: of peers that may
        mean harm. As ZeroMQ takes from each connection in turn, one that floods costs the others nothing. A peer that
        sends more than `largest` bytes in a message, or more than a backlog of them that are not read, loses its
        connection; a backlog of so many `connections` may wait at once."""
        self._allowance = allowance
        self._socket = zmq.Context.instance().socket(zmq.SUB)
        self._socket.set(zmq.RCVHWM, backlog)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.RECONNECT_IVL, 50)
        self._socket.set(zmq.RECONNECT_IVL_MAX, 500)
        self._socket.set(zmq.SUBSCRIBE, b"")
        self._socket.set(zmq.MAXMSGSIZE, largest)
        self._keys = keys
        self._strangers = Strangers()
        self._inflow = Inflow(largest, backlog, connections)

    def connect(self, address: str) -> None:
        _connect(self._socket, address, self._keys)

    def bind(self, address: str) -> str:
        return _bind(self._socket, address, self._inflow, self._keys)

    @property
    def refused(self) -> int:
        """How many messages were none of ours."""
        return self._strangers.refused

    def receive(self) -> Iterator[tuple[Message, memoryview | None]]:
        """What has arrived, without waiting, at most a backlog of it, so that its owner's other work goes on.

        What is no message of ours is skipped, and a peer that sent many of them is not listened to any more.
        """
        allowed = 4 * HEADER_BACKLOG if self._allowance is None else min(4 * HEADER_BACKLOG, self._allowance.left)
        # While one connection always has a message, ZeroMQ looks only after a hundred of them whether others have one.
        self._socket.get(zmq.EVENTS)
        for _ in range(allowed):
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                self._inflow.read_all()
                return
            self._inflow.read(parts)
            if self._allowance is not None:
                self._allowance.use()
            if self._strangers.any_ignored and self._strangers.is_ignored(_peer(parts[0])):
                continue
            try:
                if len(parts) > _MOST_PARTS:
                    raise MessageRefused(f"{len(parts)} parts")
                if self._allowance is not None and len(parts[0]) > _LARGEST_REQUEST:
                    raise MessageRefused(f"{len(parts[0])} bytes")
                message = decode(parts[0].buffer)
            except MessageRefused as refused:
                self._strangers.refuse(_peer(parts[0]), str(refused))
                continue
            yield message, parts[1].buffer if len(parts) > 1 else None

    @property
    def pauses(self) -> bool:
        """Whether nothing may be read just now."""
        return self._allowance is not None and not self._allowance.left

    def close(self) -> None:
        self._inflow.close()
        self._socket.close()


def _peer(part: zmq.Frame) -> tuple[str, int]:
    """The network address that a message came from, empty on this host's own sockets, and what tells its connection
    from others: the port at the other end, or the process. A descriptor's number alone goes to the next connection."""
    try:
        address, descriptor = str(part.get("Peer-Address")), part.get(zmq.SRCFD)
        with os_socket.socket(fileno=os.dup(descriptor)) as connection:
            if connection.family == os_socket.AF_UNIX:
                credentials = connection.getsockopt(os_socket.SOL_SOCKET, os_socket.SO_PEERCRED, 12)
                return address, struct.unpack_from("i", credentials)[0] << 32 | descriptor
            return address, connection.getpeername()[1]
    except (zmq.ZMQError, OSError):  # it is gone
        return "", -1


def flush() -> None:
    """Wait for what closed publishers that wait still have to send: a process's end does not. No socket may be open."""
    zmq.Context.instance().term()


class CommandServer:
    """Answers requests, from any number of clients, in `serve` calls of its owner's loop."""

    def __init__(self, address: str, answer: Callable[[dict], dict], keys: Keys | None = None) -> None:
        self._socket = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, 0)
        self._socket.set(zmq.MAXMSGSIZE, _LARGEST_REQUEST)
        self._socket.set(zmq.RCVHWM, _REQUEST_BACKLOG)
        self._inflow = Inflow(_LARGEST_REQUEST, _REQUEST_BACKLOG, _CONNECTIONS)
        self.address = _bind(self._socket, address, self._inflow, keys)
        self._answer = answer
        self._allowance = Allowance(_REQUESTS_PER_S)
        self._strangers = Strangers()

    @property
    def pauses(self) -> bool:
        """Whether nothing may be answered just now."""
        return not self._allowance.left

    def serve(self) -> None:
        """Answer what was asked, at most so much a second. Peers that ask nonsense are ignored in time."""
        while self._allowance.left:
            if not self._socket.poll(0):
                self._inflow.read_all()
                return
            self._allowance.use()
            # A REQ socket puts an empty part before its request, and wants it before the answer.
            *envelope, request = parts = self._socket.recv_multipart(copy=False)
            self._inflow.read(parts[1:])  # the first is the socket's own name for the peer
            if self._strangers.any_ignored and self._strangers.is_ignored(_peer(request)):
                continue
            try:
                answer = encode_plain(self._answer(decode_request(request.bytes)))
            except (MessageRefused, ValueError) as refused:
                self._strangers.refuse(_peer(request), str(refused))
                continue
            self._socket.send_multipart([*envelope, answer])

    @property
    def refused(self) -> int:
        """How many requests were none of ours."""
        return self._strangers.refused

    def close(self) -> None:
        self._inflow.close()
        self._socket.close()


class CommandClient:
    """Asks a CommandServer. Not for several threads."""

    def __init__(self, address: str, keys: Keys | None = None) -> None:
        self._socket = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.set(zmq.LINGER, 0)
        # So many wait for a server that is away; one that comes back is not asked what nobody waits for any more.
        self._socket.set(zmq.SNDHWM, _REQUEST_BACKLOG)
        self._socket.set(zmq.MAXMSGSIZE, _LARGEST_REQUEST)
        _connect(self._socket, address, keys)
        self._number = 0

    def ask(self, request: dict, timeout_s: float) -> dict | None:
        """The answer, or None where none came in time."""
        self._number += 1
        deadline = time.monotonic() + timeout_s
        if not self._socket.poll(timeout_s * 1000, zmq.POLLOUT):
            return None
        self._socket.send(encode_plain({**request, "number": self._number}))
        while (left := deadline - time.monotonic()) > 0:
            if not self._socket.poll(left * 1000):
                return None
            with contextlib.suppress(MessageRefused):
                answer = decode_plain(self._socket.recv())
                if answer.get("number") == self._number:
                    return answer
        return None

    def close(self) -> None:
        self._socket.close()


def next_port(address: str) -> str:
    """The address with the next port: where the commands of a `tcp://HOST:PORT` for frames are."""
    head, _, port = address.rpartition(":")
    return f"{head}:{int(port) + 1}"


def wait(subscribers: list[Subscriber], servers: list[CommandServer], timeout_s: float) -> None:
    """Return as soon as any of them has something, or after `timeout_s`."""
    poller = zmq.Poller()
    for end in (*subscribers, *servers):
        if end.pauses:
            timeout_s = min(timeout_s, _PAUSE_S)
        else:
            poller.register(end._socket, zmq.POLLIN)
    poller.poll(round(max(timeout_s, 0) * 1000))

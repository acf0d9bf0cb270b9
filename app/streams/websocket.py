"""WebSocket: JSON to any number of programs and browser pages that connect.

A client gets the newest hands: while it does not read, older ones are replaced, and events wait, so many as `EVENTS`.
"""

import asyncio
import contextlib
import logging
import re
import socket
import threading
from collections import deque
from dataclasses import dataclass, field

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from app.streams.json_message import end_json, event_json, hands_json
from app.streams.kinds import StreamAddress, listening_family
from app.streams.streamed import StreamContext, StreamedSet
from app.transport.messages import Event
from calibration.errors import UserError

log = logging.getLogger(__name__)

logging.getLogger("websockets").setLevel(logging.WARNING)
# Pages of this host and files alone: any page that a browser shows may otherwise connect to a port of this host.
_ORIGINS = (None, Origin("null"), re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"))


@dataclass(frozen=True, kw_only=True)
class WebSocketLimits:
    """`clients` at a time. `events` wait for one that does not read. `buffer_bytes` of a client's connection lie in the
    kernel and as many before it: little, for what lies there is old when it is read. Nothing larger than
    `largest_request` is taken from a client, and nothing is made of it. `close_s`: for the last message at the end."""

    clients: int = 32
    events: int = 256
    buffer_bytes: int = 65536
    largest_request: int = 4096
    close_s: float = 0.2


@dataclass(eq=False, kw_only=True)
class _Client:
    connection: ServerConnection
    events: deque[bytes]
    newest: bytes | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)


class WebSocketSender:
    """A StreamSender that listens; its connections are served in a thread. Raises UserError where the port is taken."""

    def __init__(
        self, address: StreamAddress, context: StreamContext, limits: WebSocketLimits = WebSocketLimits()
    ) -> None:
        self._limits, self._clients = limits, set[_Client]()
        self._socket = _listen(address, limits)
        self._loop = asyncio.new_event_loop()
        self._server: Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="websocket", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    @property
    def clients(self) -> int:
        """How many there are now."""
        return len(self._clients)

    def send(self, poses: StreamedSet) -> None:
        if self._clients:
            self._loop.call_soon_threadsafe(self._offer, hands_json(poses))

    def tell(self, event: Event) -> None:
        self._loop.call_soon_threadsafe(self._add, event_json(event))

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._add, end_json())
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _offer(self, hands: bytes) -> None:
        for client in self._clients:
            client.newest = hands
            client.wake.set()

    def _add(self, event: bytes) -> None:
        for client in self._clients:
            client.events.append(event)
            client.idle.clear()
            client.wake.set()

    async def _start(self) -> None:
        self._server = await serve(
            self._serve,
            sock=self._socket,
            origins=_ORIGINS,
            compression=None,
            max_size=self._limits.largest_request,
            write_limit=self._limits.buffer_bytes,
        )

    async def _stop(self) -> None:
        assert self._server is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.close_s):
                await asyncio.gather(*(client.idle.wait() for client in self._clients))
        self._server.close()
        try:
            await asyncio.wait_for(self._server.wait_closed(), self._limits.close_s)
        except TimeoutError:  # of a client that does not read
            for client in self._clients:
                client.connection.transport.abort()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), self._limits.close_s)

    async def _serve(self, connection: ServerConnection) -> None:
        if len(self._clients) >= self._limits.clients:
            await connection.close(1013, "too many clients")
            return
        client = _Client(connection=connection, events=deque(maxlen=self._limits.events))
        self._clients.add(client)
        reading = asyncio.create_task(_ignore(connection))
        reading.add_done_callback(lambda _: client.wake.set())
        try:
            while not reading.done():
                await client.wake.wait()
                client.wake.clear()
                while client.events or client.newest is not None:
                    said = client.events.popleft() if client.events else client.newest
                    if said is client.newest:
                        client.newest = None
                    assert said is not None
                    await connection.send(said, text=True)
                client.idle.set()
        except ConnectionClosed:
            pass
        finally:
            self._clients.discard(client)
            reading.cancel()


async def _ignore(connection: ServerConnection) -> None:
    """What a client says, so that it does not fill up; pings are answered besides."""
    with contextlib.suppress(ConnectionClosed):
        async for _ in connection:
            pass


def _listen(address: StreamAddress, limits: WebSocketLimits) -> socket.socket:
    # With the protocol named, asyncio has each set sent at once, not when the one before is acknowledged.
    listening = socket.socket(listening_family(address), socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections take it over from the socket that they come to.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.buffer_bytes)
        listening.bind((address.host, address.port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise UserError(f"cannot listen on `{address}`: {error.strerror}. Give another port.") from None
    if not address.loopback:
        log.warning("%s can be reached from the network, by anyone, unencrypted", address)
    return listening

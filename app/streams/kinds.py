"""What `--stream NAME://HOST:PORT` may name, and what is checked of it before a run starts."""

import errno
import importlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.transport.sockets import host_in_url, is_host, is_loopback
from calibration.errors import UserError, reason_of

LOOPBACK = "127.0.0.1"
_BROKER_S = 3.0


@dataclass(frozen=True, kw_only=True)
class StreamKind:
    """A stream: what it is called, the class in app.streams that sends it, the package and extra that it needs, and the
    port that its receivers take unless told otherwise. `does` with HOST:PORT: send to it, listen, or join a broker."""

    title: str
    module: str
    sender: str
    port: int
    does: str = "sends to"
    package: str | None = None
    extra: str | None = None

    def check_library(self) -> None:
        """Raises UserError, with the line that installs it, where its library is missing."""
        if self.package is None:
            return
        try:
            importlib.import_module(self.package)
        except ModuleNotFoundError:
            raise UserError(
                f"{self.title} needs the package `{self.package}`. "
                f"Install it: pip install 'usthand-live[{self.extra}]'."
            ) from None
        except (ImportError, OSError, RuntimeError) as error:
            raise UserError(f"{self.title}: the package `{self.package}` cannot be loaded ({error}).") from None


STREAMS = {
    "osc": StreamKind(title="OSC", module="osc", sender="OscSender", port=9000, package="pythonosc", extra="osc"),
    "vmc": StreamKind(title="VMC", module="vmc", sender="VmcSender", port=39539, package="pythonosc", extra="osc"),
    "lsl": StreamKind(
        title="LSL", module="lsl", sender="LslSender", port=16572, does="serves", package="pylsl", extra="lsl"
    ),
    "ws": StreamKind(
        title="WebSocket",
        module="websocket",
        sender="WebSocketSender",
        port=8765,
        does="listens at",
        package="websockets",
        extra="websocket",
    ),
    "udp": StreamKind(title="UDP", module="udp", sender="UdpSender", port=9870),
    "mqtt": StreamKind(
        title="MQTT", module="mqtt", sender="MqttSender", port=1883, does="joins", package="paho.mqtt", extra="mqtt"
    ),
}
_ALSO = {"websocket": "ws"}
_ALL = {"0.0.0.0", "::"}
"""Hosts that take a port of every other."""


@dataclass(frozen=True)
class StreamAddress:
    """Where a stream goes, or is to be found."""

    name: str
    host: str
    port: int

    @property
    def kind(self) -> StreamKind:
        return STREAMS[self.name]

    @property
    def loopback(self) -> bool:
        """Whether it stays on this host."""
        return is_loopback(str(self))

    def __str__(self) -> str:
        return f"{self.name}://{host_in_url(self.host)}:{self.port}"


def parse_stream(text: str) -> StreamAddress:
    """Of NAME://HOST:PORT, where the host may be left out (this one) and the port (the usual one).

    Raises UserError for an unknown name, and lists the known ones, and for what is no host or port.
    """
    head, separator, _ = text.partition("://")
    name = _ALSO.get(head.lower(), head.lower())
    if name not in STREAMS:
        meant = name.partition(":")[0]
        if meant in STREAMS:
            raise UserError(f"`--stream {text}` is no address. Write `{meant}://`, or `{_example(meant)}`.")
        raise UserError(f"`--stream {text}`: unknown stream `{head}`; known: {', '.join(STREAMS)}.")
    try:
        parts = urlsplit(text if separator else f"{text}://")
        host, port = parts.hostname or LOOPBACK, parts.port
        extra = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    except ValueError:
        host, port, extra = "", None, None
    if not host or extra or (port is not None and not 0 < port < 65536):
        raise UserError(f"`--stream {text}` is no address. Give {name}://HOST:PORT, for example {_example(name)}.")
    address = StreamAddress(name, host, port or STREAMS[name].port)
    if not is_host(host):
        raise _unknown_host(address, "it is no name of a host")
    return address


def _example(name: str) -> str:
    return f"{name}://{LOOPBACK}:{STREAMS[name].port}"


def check_streams(texts: Sequence[str], others: Mapping[str, str | None] | None = None) -> list[str]:
    """The streams' addresses in full. Raises UserError where one cannot be: its name, address, library or port.

    `others`, by flag, are addresses of which the run itself takes those that are tcp:// and web://.
    """
    addresses = [parse_stream(text) for text in texts]
    taken: dict[str, tuple[str, int]] = {}
    for flag, other in (others or {}).items():
        if other and (place := _own_place(other)) is not None:
            _take(taken, f"{flag} {other}", place)
    for number, address in enumerate(addresses):
        if address in addresses[:number]:
            raise UserError(f"`--stream {address}` is given twice. Leave one of the two out.")
        address.kind.check_library()
        _check_host(address)
        if address.kind.does == "listens at":
            _take(taken, f"--stream {address}", _place(address))
    return [str(address) for address in addresses]


def _take(taken: dict[str, tuple[str, int]], flag: str, place: tuple[str, int]) -> None:
    """Add where a flag makes the run listen. Raises UserError where another one does already."""
    for other, (host, port) in taken.items():
        if port == place[1] and (host == place[0] or _ALL & {host, place[0]}):
            raise UserError(f"`{flag}` and `{other}` are one port. Give one of the two another.")
    taken[flag] = place


def listening_family(address: StreamAddress) -> socket.AddressFamily:
    """Of the socket of a stream that listens."""
    return socket.AF_INET6 if ":" in address.host else socket.AF_INET


def _place(address: StreamAddress) -> tuple[str, int]:
    """Host and port where it listens, as numbers."""
    found = socket.getaddrinfo(address.host, address.port, listening_family(address), socket.SOCK_STREAM)
    return str(found[0][4][0]), address.port


def _own_place(text: str) -> tuple[str, int] | None:
    parts = urlsplit(text)
    if parts.scheme not in ("tcp", "web") or not parts.port:
        return None
    try:
        return _place(StreamAddress("ws", parts.hostname or LOOPBACK, parts.port))
    except OSError:  # what is no host is said where it is listened at
        return None


def _check_host(address: StreamAddress) -> None:
    listens = address.kind.does == "listens at"
    try:
        if listens:
            _place(address)
        else:
            socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _unknown_host(address, reason_of(error)) from None
    try:
        if listens:
            with socket.socket(listening_family(address)) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address.host, address.port))
        elif address.kind.does == "joins":
            socket.create_connection((address.host, address.port), timeout=_BROKER_S).close()
    except socket.gaierror as error:
        raise _unknown_host(address, reason_of(error)) from None
    except OSError as error:
        if not listens:
            raise UserError(
                f"`--stream {address}`: no broker answers there ({reason_of(error)}). Start one, for example "
                f"mosquitto, or give its address."
            ) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise UserError(
                f"`--stream {address}`: `{address.host}` is not this host's. Give {LOOPBACK}, or 0.0.0.0 for every "
                "network."
            ) from None
        raise UserError(
            f"`--stream {address}`: cannot listen there ({error.strerror}). Give another port, or end the program "
            "that has it."
        ) from None


def _unknown_host(address: StreamAddress, why: str) -> UserError:
    every = ", or 0.0.0.0 for every network" if address.kind.does == "listens at" else ""
    return UserError(
        f"`--stream {address}`: the host `{address.host}` is not known ({why}). Give another, such as "
        f"{LOOPBACK}{every}."
    )

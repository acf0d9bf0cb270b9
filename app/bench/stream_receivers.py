"""Receivers of each stream, as other programs have them: what says when a set has arrived as a whole."""

import queue
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from app.streams.kinds import LOOPBACK
from app.streams.mqtt import HANDS_TOPIC

HANDS = 2
_CONNECT_S = 30.0


class Receiver(Protocol):
    """Made with the stream's port: those that are sent to before its process starts, the others (`connect`) after."""

    def connect(self) -> None: ...

    def receive(self, timeout_s: float) -> bool:
        """Wait for a whole set; False where none came in time."""
        ...

    def close(self) -> None: ...


class DatagramReceiver:
    """Of UDP, VMC and OSC: a set is so many datagrams."""

    def __init__(self, port: int, datagrams: int = 1) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, port))
        self._datagrams = datagrams

    def connect(self) -> None:
        """It is sent to."""

    def receive(self, timeout_s: float) -> bool:
        self._socket.settimeout(timeout_s)
        try:
            for _ in range(self._datagrams):
                self._socket.recv(65536)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self._socket.close()


class WebSocketReceiver:
    def __init__(self, port: int) -> None:
        self._address = f"ws://{LOOPBACK}:{port}"

    def connect(self) -> None:
        from websockets.sync.client import connect

        self._client = connect(self._address, compression=None)

    def receive(self, timeout_s: float) -> bool:
        try:
            self._client.recv(timeout_s)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self._client.close()


class LslReceiver:
    def __init__(self, port: int) -> None:
        """LSL finds it by name."""

    def connect(self) -> None:
        import pylsl

        found = pylsl.resolve_byprop("name", "usthand_right", 1, _CONNECT_S)
        self._inlet = pylsl.StreamInlet(found[0])
        self._inlet.open_stream(_CONNECT_S)

    def receive(self, timeout_s: float) -> bool:
        return self._inlet.pull_sample(timeout_s)[0] is not None

    def close(self) -> None:
        self._inlet.close_stream()


class MqttReceiver:
    """With a broker of its own between: mosquitto, started here."""

    def __init__(self, port: int) -> None:
        self._port, self._got = port, queue.SimpleQueue[bytes]()
        self._folder = tempfile.TemporaryDirectory(prefix="usthand-broker-")
        settings = Path(self._folder.name) / "broker.conf"
        settings.write_text(f"listener {port} {LOOPBACK}\nallow_anonymous true\nset_tcp_nodelay true\n")
        program = broker()
        assert program is not None, "asked before"
        self._broker = subprocess.Popen([program, "-c", str(settings)], stderr=subprocess.DEVNULL)
        _until(lambda: _listens(port))

    def connect(self) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self._client, ready = Client(CallbackAPIVersion.VERSION2), []
        self._client.on_subscribe = lambda *_: ready.append(True)
        self._client.on_message = lambda _, __, message: self._got.put(bytes(message.payload))
        self._client.connect(LOOPBACK, self._port)
        self._client.loop_start()
        self._client.subscribe(HANDS_TOPIC)
        _until(lambda: bool(ready))

    def receive(self, timeout_s: float) -> bool:
        try:
            self._got.get(timeout=timeout_s)
        except queue.Empty:
            return False
        return True

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._broker.kill()
        self._broker.wait()
        self._folder.cleanup()


RECEIVERS: dict[str, Callable[[int], Receiver]] = {
    "osc": lambda port: DatagramReceiver(port, 1 + HANDS),
    "vmc": DatagramReceiver,
    "lsl": LslReceiver,
    "ws": WebSocketReceiver,
    "udp": DatagramReceiver,
    "mqtt": MqttReceiver,
}


def broker() -> str | None:
    """The program mosquitto, where it is installed."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _CONNECT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.01)

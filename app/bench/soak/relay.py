"""A network that is slow to wake: a relay of TCP connections to ports of this host that stalls, or loses them all."""

import contextlib
import socket
import threading

_BLOCK = 1 << 16


class StallingRelay:
    """Listens at two ports that follow one another, as a worker does, and passes all on to two others."""

    def __init__(self, to_port: int) -> None:
        self._flows = threading.Event()
        self._flows.set()
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self.port, self._listeners = _two_ports()
        for number, listener in enumerate(self._listeners):
            threading.Thread(target=self._accept, args=(listener, to_port + number), daemon=True).start()

    def stall(self) -> None:
        """Nothing passes; connections stay."""
        self._flows.clear()

    def go_on(self) -> None:
        self._flows.set()

    def cut(self) -> None:
        """Every connection ends; new ones may be made."""
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        self.go_on()
        self.cut()

    def _accept(self, listener: socket.socket, to_port: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", to_port))
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._connections = [each for each in self._connections if each.fileno() >= 0] + [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_BLOCK):
                self._flows.wait()
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _two_ports() -> tuple[int, list[socket.socket]]:
    while True:
        first = socket.create_server(("127.0.0.1", 0))
        port = first.getsockname()[1]
        try:
            return port, [first, socket.create_server(("127.0.0.1", port + 1))]
        except (OSError, OverflowError):
            first.close()


def two_free_ports() -> int:
    """The first of two ports that follow one another and that nobody listens at."""
    port, listeners = _two_ports()
    for listener in listeners:
        listener.close()
    return port

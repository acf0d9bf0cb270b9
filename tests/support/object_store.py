"""An S3 server of this machine (moto's), and a relay to it that breaks connections."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def object_store(breaks: int = 0) -> Iterator[dict[str, str]]:
    """Gives the environment in which s3fs finds it; the first `breaks` connections that carry much in a direction are
    cut. Skips where moto or s3fs is not installed."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install s3fs")
    server_module = pytest.importorskip("moto.server", reason='moto is not installed: pip install "moto[s3,server]"')
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    relay = BreakingRelay(port, breaks)
    url = f"http://127.0.0.1:{relay.port}"
    try:
        yield {
            "AWS_ENDPOINT_URL": url,
            "FSSPEC_S3_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        relay.close()
        server.stop()


class BreakingRelay:
    """A relay to a port of this host that cuts the first `breaks` connections that carry 40 kB in one direction."""

    def __init__(self, to_port: int, breaks: int) -> None:
        self._to, self._breaks = to_port, breaks
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(8192):
                target.sendall(data)
                passed += len(data)
                if passed > 40_000 and self._breaks > 0:
                    self._breaks -= 1
                    break
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

"""Network cameras for tests: JPEG pictures over HTTP, and a relay that delays a stream."""

import contextlib
import math
import queue
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import cv2
import numpy as np

from tests.support.source_cases import HEIGHT, WIDTH, grey_of


def numbered_jpeg(number: int, width: int = WIDTH, height: int = HEIGHT, sampling: str = "420") -> bytes:
    picture = np.full((height, width, 3), grey_of(number), np.uint8)
    factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor])[1].tobytes()


class MjpegServer:
    """An MJPEG camera over HTTP, of as many clients as come. `picture` makes the JPEG with a number, which is
    said to be of `kind`.

    Frames are taken `phase_s` after whole periods of the host's monotonic clock, and come `delay_s` later. Where they
    are not `multipart`, one picture follows another with nothing between them.
    """

    def __init__(
        self, fps: float = 30.0, *, phase_s: float = 0.0, delay_s: float = 0.0, multipart: bool = True
    ) -> None:
        self.picture: Callable[[int], bytes] = numbered_jpeg
        self.kind = b"image/jpeg"
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self.send_response(200)
                kind = "multipart/x-mixed-replace; boundary=frame" if multipart else "image/jpeg"
                self.send_header("Content-Type", kind)
                self.end_headers()
                first, number = math.ceil((time.monotonic() - phase_s) * fps), 0
                with contextlib.suppress(OSError):
                    while True:
                        due_s = (first + number) / fps + phase_s + delay_s
                        if camera._closed.wait(max(0.0, due_s - time.monotonic())):
                            return
                        data = camera.picture(number)
                        head = b"--frame\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (camera.kind, len(data))
                        self.wfile.write(head + data + b"\r\n" if multipart else data)
                        number += 1

        self._closed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/cam.mjpg"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()


class SlowRelay:
    """A relay to a port of this host that passes on what comes from there `delay_s` later."""

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.delay_s = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    camera = socket.create_connection(("127.0.0.1", self._to))
                except OSError:
                    client.close()
                    continue
                late: queue.Queue[tuple[float, bytes]] = queue.Queue()
                threading.Thread(target=self._take, args=(client, camera.sendall), daemon=True).start()
                threading.Thread(
                    target=self._take,
                    args=(camera, lambda data, late=late: late.put((time.monotonic() + self.delay_s, data))),
                    daemon=True,
                ).start()
                threading.Thread(target=self._give, args=(late, client), daemon=True).start()

    def _take(self, source: socket.socket, give: Callable[[bytes], object]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                give(data)
        with contextlib.suppress(OSError):
            give(b"")

    def _give(self, late: "queue.Queue[tuple[float, bytes]]", target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                due_s, data = late.get()
                time.sleep(max(0.0, due_s - time.monotonic()))
                if not data:
                    break
                target.sendall(data)
        target.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

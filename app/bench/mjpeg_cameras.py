"""Network cameras in a process of their own: JPEG pictures over HTTP, as webcams make them, at an even rate."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from app.sources.hand_drawing import HandDrawing
from calibration.camera_source import OpenCvSource
from calibration.rig import Rig, RigCamera
from models.simulation.hands import hands_of_people_at

_PICTURES = 30
_QUALITY = 90
# Of a webcam's pictures in a lit room, and of what stands about in it.
_NOISE, _CLUTTER = 2.0, 25.0
_HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"


@contextlib.contextmanager
def mjpeg_cameras(rig: Rig) -> Iterator[Rig]:
    """The rig with each camera over HTTP from this host, until the context ends."""
    camera = rig.cameras[0].camera
    words = [sys.executable, "-m", __name__, str(camera.width), str(camera.height), str(rig.sync.fps)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0)
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}/camera.mjpg"
        yield replace(rig, cameras=tuple(replace(each, source=OpenCvSource(device=url)) for each in rig.cameras))
    finally:
        process.kill()
        process.wait()


def _pictures(camera: RigCamera) -> list[bytes]:
    """Hands before a cluttered wall, with a sensor's noise: as hard to encode as what a camera sees."""
    random = np.random.default_rng(0)
    size = camera.camera.width, camera.camera.height
    clutter = sum(
        cv2.resize(random.normal(0, _CLUTTER / 2, (size[1] // cell, size[0] // cell, 3)), size) for cell in (64, 8)
    )
    drawing, image = HandDrawing(camera), np.empty((size[1], size[0], 3), np.uint8)
    pictures = []
    for number in range(_PICTURES):
        drawing.draw([joints_m for _, joints_m in hands_of_people_at(number / 30, 1)], image)
        seen = image + clutter + random.normal(0, _NOISE, image.shape)
        data = cv2.imencode(".jpg", np.clip(seen, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        pictures.append(data.tobytes())
    return [*pictures, *pictures[-2:0:-1]]


def _send(connection: socket.socket, pictures: Sequence[bytes], fps: float) -> None:
    with contextlib.suppress(OSError), connection:
        connection.recv(4096)
        connection.sendall(_HEAD)
        began, number = time.monotonic(), 0
        while True:
            data = pictures[number % len(pictures)]
            head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
            connection.sendall(b"".join((head, data, b"\r\n")))
            number += 1
            time.sleep(max(0.0, began + number / fps - time.monotonic()))


def main(width: int, height: int, fps: float) -> None:
    """Tell the port, then serve until killed, or until who started this is gone."""
    from models.simulation.simulated_rig import ring_rig

    pictures = _pictures(ring_rig(2, width, height, fps).cameras[0])
    server = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{server.getsockname()[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=_serve, args=(server, pictures, fps), daemon=True).start()
    sys.stdin.read()


def _serve(server: socket.socket, pictures: Sequence[bytes], fps: float) -> None:
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_send, args=(connection, pictures, fps), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))

"""The keys of takes, against a command server that answers as the recorder does."""

import threading
import time
from pathlib import Path

from app.transport.sockets import CommandServer, ipc_address
from app.viewer.take_keys import TakeKeys


def test_r_begins_and_ends_a_take_and_k_marks_it(tmp_path: Path) -> None:
    asked: list[str] = []
    recording = False

    def answer(request: dict) -> dict:
        nonlocal recording
        if request["do"] != "state":
            asked.append(request["do"])
        recording = {"start": True, "stop": False}.get(request["do"], recording)
        return {"number": request["number"], "recording": recording}

    address, done = ipc_address(tmp_path / "control"), threading.Event()

    def serve() -> None:
        server = CommandServer(address, answer)
        while not done.wait(0.005):
            server.serve()
        server.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        keys = TakeKeys(address).actions
        for key in "RKR":
            keys[key]()
        until = time.monotonic() + 30
        while len(asked) < 3 and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        done.set()
        thread.join()
    assert asked == ["start", "mark", "stop"]

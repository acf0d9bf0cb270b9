"""A headless Chromium, told what to do through its DevTools protocol."""

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

SIZE = (1280, 720)
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--remote-debugging-port=0", "--no-proxy-server",
    f"--window-size={SIZE[0]},{SIZE[1]}",
)  # fmt: skip


class Page:
    """One page: opened, photographed, and asked which hosts it wanted something of."""

    def __init__(self, address: str) -> None:
        from websockets.sync.client import connect

        self._socket = connect(address, max_size=None, open_timeout=60)
        self._numbers = itertools.count(1)
        self.urls: list[str] = []
        for domain in ("Page", "Runtime", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters) -> dict:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=120))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._hear(message)

    def _hear(self, message: dict) -> None:
        asked = message.get("params", {})
        if message["method"] == "Network.requestWillBeSent":
            self.urls.append(asked["request"]["url"])
        elif message["method"] == "Network.webSocketCreated":
            self.urls.append(asked["url"])

    def open(self, url: str) -> None:
        self.ask("Page.navigate", url=url)

    def text(self) -> str:
        """What a person can read on the page."""
        return self.evaluate("document.body ? document.body.innerText : ''") or ""

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self) -> np.ndarray:
        """As shown, (height, width, 3) BGR."""
        data = base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)

    def hosts(self) -> set[str]:
        """Of all that the page asked the network for."""
        return {urlsplit(url).netloc for url in self.urls if urlsplit(url).scheme in ("http", "https", "ws", "wss")}

    def until(self, holds: Callable[["Page"], bool], what: str, seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while not holds(self):
            assert time.monotonic() < end, f"waited {seconds} s in vain for {what}; the page says: {self.text()[:2000]}"
            time.sleep(0.2)


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    """A blank page of a browser of its own, which is gone afterwards."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    profile = Path(tempfile.mkdtemp(prefix="usthand-browser-"))
    with (profile / "log").open("wb") as log:
        process = subprocess.Popen([program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"], stderr=log)
    try:
        port = _port(profile, process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=60) as answer:
            pages = [each for each in json.load(answer) if each["type"] == "page"]
        yield Page(pages[0]["webSocketDebuggerUrl"])
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        shutil.rmtree(profile, ignore_errors=True)


def _port(profile: Path, process: subprocess.Popen) -> int:
    told = profile / "DevToolsActivePort"
    end = time.monotonic() + 120
    while not (told.exists() and told.read_text().strip()):
        assert time.monotonic() < end, (profile / "log").read_text(errors="replace")[-2000:]
        assert process.poll() is None, (profile / "log").read_text(errors="replace")[-2000:]
        time.sleep(0.1)
    return int(told.read_text().split()[0])

"""A page in a headless Chromium, asked over its DevTools protocol."""

import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import connect

_STARTS_S = 90


class ChromiumPage:
    def __init__(self, url: str, folder: Path) -> None:
        """With a new profile in a folder."""
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        assert program, "these tests need a browser: apt-get install chromium"
        switches = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
        quiet = "disable-component-update disable-sync remote-debugging-port=0"
        flags = [f"--{each}" for each in f"{switches} {quiet}".split()]
        self._profile = folder / "profile"
        self._process = subprocess.Popen(
            [program, *flags, f"--user-data-dir={self._profile}", url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._number = 0

    def __enter__(self) -> Self:
        self._socket = connect(self._page_address(), max_size=1 << 24, compression=None)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(30)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        self._number += 1
        about = {"expression": expression, "returnByValue": True}
        self._socket.send(json.dumps({"id": self._number, "method": "Runtime.evaluate", "params": about}))
        while (answer := json.loads(self._socket.recv(_STARTS_S))).get("id") != self._number:
            pass
        return answer["result"]["result"].get("value")

    def _page_address(self) -> str:
        told, end = self._profile / "DevToolsActivePort", time.monotonic() + _STARTS_S
        while time.monotonic() < end:
            try:
                port = told.read_text().splitlines()[0]
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                    return next(each for each in json.load(answer) if each["type"] == "page")["webSocketDebuggerUrl"]
            except (OSError, IndexError, StopIteration):
                time.sleep(0.1)
        self._process.kill()
        raise AssertionError("the browser did not start")

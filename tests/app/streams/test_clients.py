"""The clients of docs/streams.md, as they stand there."""

import os
import re
import shutil
import socket
import subprocess
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.streams.websocket import WebSocketSender
from tests.conftest import ROOT
from tests.support.browser import chromium
from tests.support.live_run import free_port
from tests.support.streamed_hands import pinch_event, pose_set, sender, streamed, true_joints_m


def written(language: str, word: str) -> str:
    """The block of that language that has a word."""
    text = (ROOT / "docs" / "streams.md").read_text()
    [block] = [each for each in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if word in each]
    return block


@pytest.mark.slow
def test_the_browser_page_draws_every_joint_where_it_is(tmp_path) -> None:
    port = free_port()
    page = tmp_path / "page.html"
    page.write_text(written("html", "canvas").replace("8765", str(port)))
    with sender(f"ws://127.0.0.1:{port}") as stream, chromium() as browser:
        browser.open(page.as_uri())
        assert isinstance(stream, WebSocketSender)
        end = time.monotonic() + 60
        while stream.clients == 0:
            assert time.monotonic() < end, "the page does not connect"
            time.sleep(0.05)
        stream.tell(pinch_event())
        stream.send(streamed(pose_set()))
        while not browser.evaluate("view.getImageData(0, 0, 640, 480).data.some((value) => value > 0)"):
            assert time.monotonic() < end, "the page draws nothing"
            time.sleep(0.05)
        assert browser.evaluate("said.textContent") == "right pinch began\n"
        for side in ("left", "right"):
            for x, _, z in true_joints_m(side):
                at = f"{round(320 + 900 * x)}, {round(420 - 900 * z)}"
                assert browser.evaluate(f"view.getImageData({at}, 1, 1).data[3]") == 255
        drawn = browser.evaluate(
            "view.getImageData(0, 0, 640, 480).data.filter((_, i) => i % 4 == 3).filter(a => a).length"
        )
        assert drawn <= 42 * 36


class Blender:
    """The few names of bpy that the lines use."""

    def __init__(self) -> None:
        objects, linked, timers = Objects(), [], []
        collection = SimpleNamespace(objects=SimpleNamespace(link=linked.append))
        self.data = SimpleNamespace(objects=objects)
        self.context = SimpleNamespace(scene=SimpleNamespace(collection=collection))
        self.app = SimpleNamespace(timers=SimpleNamespace(register=timers.append))
        self.timers, self.linked = timers, linked


class Objects(dict[str, Any]):
    def new(self, name: str, data: None) -> SimpleNamespace:
        self[name] = SimpleNamespace(name=name)
        return self[name]


def test_blenders_lines_put_an_empty_at_every_joint(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    blender, names = Blender(), dict[str, Any]()
    monkeypatch.setitem(__import__("sys").modules, "bpy", blender)
    exec(written("python", "bpy").replace("9870", str(port)), names)
    [update] = blender.timers
    assert update() == 1 / 60
    with sender(f"udp://127.0.0.1:{port}") as stream:
        stream.send(streamed(pose_set(time_s=0.5)))
        stream.send(streamed(pose_set()))
        stream.tell(pinch_event())
    assert update() == 1 / 60
    names["receiver"].close()
    assert len(blender.linked) == len(blender.data.objects) == 42
    for side in ("left", "right"):
        places = [blender.data.objects[f"{side}_{number}"].location for number in range(21)]
        assert np.abs(np.array(places) - true_joints_m(side)).max() < 1e-6


@pytest.mark.slow
def test_the_lines_of_csharp_say_where_each_index_fingers_tip_is(tmp_path) -> None:
    """In Unity's axes. They are compiled with the libraries that the page names."""
    if shutil.which("mcs") is None or shutil.which("mono") is None:
        pytest.skip("Mono is not installed: apt-get install mono-mcs, and the two libraries that docs/streams.md names")
    port = free_port()
    (tmp_path / "hands.cs").write_text(written("csharp", "UdpClient").replace("9870", str(port)))
    libraries = [f"-r:System.{name}.dll" for name in ("Runtime.Serialization", "Xml", "Xml.Linq")]
    built = subprocess.run(["mcs", *libraries, "hands.cs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    command, env = ["mono", "hands.exe"], {**os.environ, "LC_ALL": "C"}
    client = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + 120
        while not _listens(port):
            assert client.poll() is None and time.monotonic() < end, "the client does not listen"
            time.sleep(0.05)
        with sender(f"udp://127.0.0.1:{port}") as stream:
            stream.tell(pinch_event())
            stream.send(streamed(pose_set()))
        # The end of the run ends it.
        said = dict(line.split(" ", 1) for line in client.communicate(timeout=60)[0].splitlines())
    finally:
        client.kill()
        client.wait()
    assert client.returncode == 0
    for side in ("left", "right"):
        x, y, z = map(float, said[side].split())
        np.testing.assert_allclose([x, z, y], true_joints_m(side)[8], atol=1e-6)


def _listens(port: int) -> bool:
    """Whether a UDP socket is bound to that port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False

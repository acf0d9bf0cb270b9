"""Streams of a whole run: each in a process of its own, beside the worker, and gone with it."""

import json
import socket
import time

import numpy as np
import pytest
from websockets.sync.client import connect

from models.simulation.hands import hands_at
from tests.support.live_run import LiveRun, command_line, free_port, simulated_rig, usthand
from tests.support.simulated_session import SETS, START_NS, STEP_NS, write_simulated_session

ARGUMENTS = ("--estimator", "simulated", "--no-viewer", "--no-mesh")


def kind_of(line: dict) -> str:
    return line.get("kind", "")


@pytest.mark.slow
def test_a_live_run_streams_beside_its_worker_and_leaves_nothing_behind(tmp_path) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(120)
        ports = receiver.getsockname()[1], free_port()
        streams = ("--stream", f"udp://127.0.0.1:{ports[0]}", "--stream", f"ws://127.0.0.1:{ports[1]}")
        with LiveRun(tmp_path, "live", rig, *ARGUMENTS, *streams, "--predict", "50") as live:
            live.sets(10)
            lines = []
            # The simulated hands pinch in each round of 8 s.
            while sum(line["type"] == "hands" for line in lines) < 60 or "gesture" not in map(kind_of, lines):
                lines.append(json.loads(receiver.recv(65536)))
            with connect(f"ws://127.0.0.1:{ports[1]}") as client:
                while not (said := json.loads(client.recv(120))).get("hands"):
                    pass
            # One that dies is started again; the worker goes on.
            live.child("app.streams.process", f"udp://127.0.0.1:{ports[0]}").kill()
            killed_ns = time.monotonic_ns()
            while (line := json.loads(receiver.recv(65536))).get("time_ns", 0) < killed_ns + 300_000_000:
                assert live.process.poll() is None
            assert line["type"] in ("hands", "event")
            code, summary = live.interrupt()
            assert live.left_behind() == []
    assert code == 0 and summary["frame_sets"] > 60
    sets = [line for line in lines if line["type"] == "hands"] + [said]
    hands = [hand for each in sets for hand in each["hands"]]
    assert {hand["state"] for hand in hands} == {"predicted"}
    assert {hand["time_ns"] - hand["seen_time_ns"] for hand in hands} & {50_000_000}
    errors = [
        np.linalg.norm(np.array(hand["joints_world_m"]) - hands_at(hand["time_ns"] / 1e9)[hand["hand"]], axis=1).mean()
        for hand in hands
    ]
    assert np.median(errors) < 0.02


@pytest.mark.slow
def test_a_stream_that_dies_again_and_again_is_left_out_and_the_run_goes_on(tmp_path) -> None:
    rig, stream = simulated_rig(tmp_path / "rig.yaml"), f"udp://127.0.0.1:{free_port()}"
    with LiveRun(tmp_path, "live", rig, *ARGUMENTS, "--stream", stream) as live:
        live.sets(5)
        killed: set[int] = set()
        end = time.monotonic() + 120
        while f"{stream} died 5 times" not in live.log.read_text():
            assert time.monotonic() < end, live.log.read_text()
            for child in live.children():
                if child.pid not in killed and "app.streams.process" in command_line(child):
                    child.kill()
                    killed.add(child.pid)
            time.sleep(0.05)
        assert len(killed) == 5
        live.sets(20)
        code, _ = live.interrupt()
        assert code == 0 and live.left_behind() == []


@pytest.mark.slow
def test_a_replay_begins_when_its_streams_listen_and_tells_them_of_every_set(tmp_path, write_video) -> None:
    session = write_simulated_session(tmp_path / "session", write_video)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        stream = f"udp://127.0.0.1:{receiver.getsockname()[1]}"
        done = usthand("replay", session.path, "--estimator", "simulated", "--no-viewer", "--stream", stream)
        assert done.returncode == 0, done.stderr
        receiver.settimeout(1)
        lines = []
        while not lines or lines[-1]["type"] != "end":
            lines.append(json.loads(receiver.recv(65536)))
    indices = [line["set_index"] for line in lines if line["type"] == "hands"]
    assert indices == sorted(set(indices)) and len(indices) > 0.8 * SETS
    times = {line["time_ns"] for line in lines if line["type"] == "hands"}
    assert times <= {START_NS + index * STEP_NS for index in range(SETS)}

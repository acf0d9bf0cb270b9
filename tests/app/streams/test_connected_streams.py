"""WebSocket, MQTT and LSL: what an independent receiver gets of known hands; one who does not read is left alone."""

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from app.streams.lsl import LslClock, Place, Places
from app.streams.mqtt import MqttSender
from app.streams.websocket import WebSocketSender
from calibration.errors import UserError
from calibration.hand import Side
from tests.conftest import ROOT
from tests.support.live_run import free_port
from tests.support.streamed_hands import TRACKS, arm_set, pinch_event, pose_set, sender, streamed, true_joints_m

DEADLINE_S = 60


def until(condition, what: str = "") -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def check_hands(message: dict) -> None:
    assert message["type"] == "hands"
    for hand in message["hands"]:
        assert hand["track"] == TRACKS[hand["hand"]]
        assert np.abs(np.array(hand["joints_world_m"]) - true_joints_m(hand["hand"])).max() < 1e-6


def sends_at_once(connection: Any) -> bool:
    """Else a set waits for the acknowledgement of the one before, up to 40 ms."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_websocket_client_gets_the_hands_events_and_the_end() -> None:
    port = free_port()
    with sender(f"ws://127.0.0.1:{port}") as stream, connect(f"ws://127.0.0.1:{port}") as client:
        assert isinstance(stream, WebSocketSender)
        until(lambda: stream.clients == 1)
        (served,) = stream._clients
        assert sends_at_once(served.connection.transport.get_extra_info("socket"))
        poses = pose_set()
        stream.send(streamed(poses))
        said = json.loads(client.recv(DEADLINE_S))
        check_hands(said)
        assert said["time_ns"] == poses.reference_time_ns
        stream.tell(pinch_event())
        assert json.loads(client.recv(DEADLINE_S))["detail"] == "pinch"
        stream.close()
        assert json.loads(client.recv(DEADLINE_S))["type"] == "end"


def test_a_websocket_client_that_does_not_read_gets_the_newest_and_holds_up_nobody() -> None:
    port = free_port()
    with sender(f"ws://127.0.0.1:{port}") as stream, socket.create_connection(("127.0.0.1", port)) as deaf:
        assert isinstance(stream, WebSocketSender)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        deaf.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        until(lambda: stream.clients == 1)
        with connect(f"ws://127.0.0.1:{port}") as client:
            until(lambda: stream.clients == 2)
            last = 400  # sets of 3 KB: more than all buffers of the deaf one's connection
            poses = pose_set()
            for index in range(last + 1):
                poses.set_index = index
                stream.send(streamed(poses))
            got = -1
            while got < last:
                got = json.loads(client.recv(DEADLINE_S))["set_index"]
        # What the deaf one finds when it reads again: some old ones of its own buffers, then the newest.
        deaf.settimeout(DEADLINE_S)
        data, marker = b"", f'"set_index":{last},'.encode()
        while marker not in data:
            part = deaf.recv(1 << 20)
            assert part
            data += part
        assert data.count(b'"set_index"') < last


def test_pages_of_other_hosts_and_taken_ports_are_refused() -> None:
    port = free_port()
    with sender(f"ws://127.0.0.1:{port}"):
        for origin in ("https://example.org", "http://localhost.example.org"):
            with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{port}", origin=origin):  # type: ignore[arg-type]
                pass
        for origin in ("null", "http://localhost:8000"):
            with connect(f"ws://127.0.0.1:{port}", origin=origin):  # type: ignore[arg-type]
                pass
        with pytest.raises(UserError, match="cannot listen"), sender(f"ws://127.0.0.1:{port}"):
            pass


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen]]:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.fail("this test needs a broker: apt-get install mosquitto")
    port = free_port()
    (tmp_path / "broker.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([program, "-c", str(tmp_path / "broker.conf")], stderr=subprocess.DEVNULL)
    until(lambda: _answers(port), "the broker does not answer")
    yield port, process
    process.kill()
    process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_mqtt_carries_hands_and_events_through_a_broker(broker) -> None:
    port, _ = broker
    got: dict[str, list[dict]] = {}
    client, ready = Client(CallbackAPIVersion.VERSION2), []
    client.on_subscribe = lambda *_: ready.append(True)
    client.on_message = lambda _, __, message: got.setdefault(message.topic, []).append(json.loads(message.payload))
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe("usthand/#")
    until(lambda: ready, "no subscription")
    with sender(f"mqtt://127.0.0.1:{port}") as stream:
        until(lambda: (stream.send(streamed(pose_set())), "usthand/hands" in got)[1], "no hands")
        assert isinstance(stream, MqttSender) and sends_at_once(stream._client.socket())
        stream.tell(pinch_event())
    until(lambda: len(got.get("usthand/events", [])) == 2, "no events")
    client.loop_stop()
    check_hands(got["usthand/hands"][0])
    pinch, end = got["usthand/events"]
    assert (pinch["kind"], pinch["detail"], end["type"]) == ("gesture", "pinch", "end")


def test_a_broker_that_stands_still_holds_up_nobody_and_no_backlog_grows(broker) -> None:
    port, process = broker
    with sender(f"mqtt://127.0.0.1:{port}") as stream:
        process.send_signal(19)  # SIGSTOP
        poses = streamed(pose_set())
        for _ in range(2500):
            stream.send(poses)
        assert len(stream._client._out_packet) <= 2  # pyright: ignore[reportAttributeAccessIssue]
        process.send_signal(18)  # SIGCONT


INLET = """
import json, sys, pylsl
infos = pylsl.resolve_bypred("name='usthand_right'", 1, 60)
inlet = pylsl.StreamInlet(infos[0])
info = inlet.info(60)
channel = info.desc().child("channels").child("channel")
labels = []
for _ in range(info.channel_count()):
    labels.append((channel.child_value("label"), channel.child_value("unit")))
    channel = channel.next_sibling()
markers = pylsl.StreamInlet(pylsl.resolve_bypred("name='usthand_events'", 1, 60)[0])
inlet.open_stream(60), markers.open_stream(60)
correction = inlet.time_correction(60)
print("ready", flush=True)
sample, time_s = inlet.pull_sample(60)
marker, marker_s = markers.pull_sample(60)
about = {key: info.desc().child_value(key) for key in ("rig", "definition", "estimator")}
print(json.dumps([labels, sample, time_s + correction, marker[0], about]), flush=True)
"""


SIDES = """
import json, time, pylsl
import msgspec
from tests.support.streamed_hands import CONTEXT, pose_set, sender, streamed

def swapped(poses):
    sides = {"left": "right", "right": "left"}
    return msgspec.structs.replace(
        poses, hands=[msgspec.structs.replace(hand, hand=sides[hand.hand]) for hand in poses.hands]
    )

with sender("lsl://") as stream:
    stream.send(streamed(pose_set()))
    inlets = {}
    for side in ("left", "right"):
        inlets[side] = pylsl.StreamInlet(pylsl.resolve_bypred(f"name='usthand_{side}'", 1, 60)[0])
        inlets[side].open_stream(60)
    for poses in (pose_set(), swapped(pose_set()), swapped(pose_set()), pose_set()):
        stream.send(streamed(poses))
        said = {side: inlet.pull_sample(60)[0][-2:] for side, inlet in inlets.items()}
        print(json.dumps(said), flush=True)
"""


def test_hands_whose_sides_are_swapped_go_on_in_the_other_lsl_outlet() -> None:
    told = subprocess.run([sys.executable, "-c", SIDES], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    seen = [json.loads(line) for line in told.stdout.splitlines()]
    left, right = [TRACKS["left"], 1.0], [TRACKS["right"], 1.0]
    straight, swapped = {"left": left, "right": right}, {"left": right, "right": left}
    assert seen == [straight, swapped, swapped, straight]


def tracks(places: Places, hands: dict[int, Side]) -> dict[Place, int]:
    """By outlet, of a set of hands with these tracks and sides."""
    poses = pose_set()
    made = [msgspec.structs.replace(poses.hands[0], hand=side, track_id=track) for track, side in hands.items()]
    given = places.of(streamed(msgspec.structs.replace(poses, hands=made)).hands)
    assert all(hand.side == side for (side, _), hand in given.items())
    return {place: hand.track_id for place, hand in given.items()}


def test_an_lsl_outlet_is_free_as_soon_as_its_hand_is_of_the_other_side_or_gone() -> None:
    places = Places(1)
    assert tracks(places, {1: "left", 2: "right"}) == {("left", 0): 1, ("right", 0): 2}
    assert tracks(places, {1: "right", 2: "right", 3: "left"}) == {("left", 0): 3, ("right", 0): 2}
    assert tracks(places, {1: "right", 3: "left"}) == {("left", 0): 3, ("right", 0): 1}
    assert tracks(places, {1: "left", 3: "left"}) == {("left", 0): 3}
    assert tracks(places, {1: "left"}) == {("left", 0): 1}


def test_hands_of_two_people_keep_their_lsl_outlets_while_others_come_and_go() -> None:
    places = Places(2)
    assert places.all == [("left", 0), ("right", 0), ("left", 1), ("right", 1)]
    assert tracks(places, {1: "left", 2: "left", 3: "left"}) == {("left", 0): 1, ("left", 1): 2}
    assert tracks(places, {2: "left", 1: "right"}) == {("left", 1): 2, ("right", 0): 1}
    assert tracks(places, {4: "left", 2: "left", 1: "right"}) == {("left", 0): 4, ("left", 1): 2, ("right", 0): 1}


def through_lsl(poses: str = "pose_set", context: str = "CONTEXT") -> tuple[int, list]:
    """When the images of a set of `poses` were taken, and what an inlet says of it, each in a process of its own:
    liblsl reads its configuration once in each."""
    outlet = (
        "import sys, time\nfrom dataclasses import replace\nfrom tests.support.streamed_hands import *\n"
        f"with sender('lsl://', {context}) as stream:\n"
        f"    stream.send(streamed({poses}(time.monotonic_ns())))\n"
        "    print('there', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    time_ns = time.monotonic_ns()\n"
        f"    stream.send(streamed({poses}(time_ns - 80_000_000)))\n"
        "    stream.tell(pinch_event())\n"
        "    print(time_ns, flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    pipes = {"cwd": ROOT, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", outlet], **pipes) as sending:
        assert sending.stdin and sending.stdout
        assert sending.stdout.readline() == "there\n"
        with subprocess.Popen([sys.executable, "-c", INLET], **pipes) as receiving:
            assert receiving.stdout
            assert receiving.stdout.readline() == "ready\n"
            sending.stdin.write("\n")
            sending.stdin.flush()
            captured_ns = int(sending.stdout.readline()) - 80_000_000
            said = json.loads(receiving.stdout.readline())
        sending.stdin.write("\n")
        sending.stdin.flush()
    return captured_ns, said


def test_an_lsl_inlet_recovers_joints_labels_and_the_capture_time() -> None:
    captured_ns, (labels, sample, time_s, marker, about) = through_lsl()
    assert about == {"rig": "rig-1", "definition": "anatomical", "estimator": "test"}
    assert labels[0] == ["wrist_x", "metres"] and labels[26] == ["index_tip_z", "metres"]
    assert [label for label, _ in labels[-2:]] == ["track", "state"]
    assert np.abs(np.reshape(sample[:63], (21, 3)) - true_joints_m("right")).max() < 1e-6
    assert sample[-2:] == [TRACKS["right"], 1.0]
    assert marker == "gesture 7 right began pinch"
    # On this host LSL's clock is the monotonic one, so the inlet's time is the capture time: within a millisecond.
    assert time_s == pytest.approx(captured_ns / 1e9, abs=0.001)


def test_an_lsl_inlet_recovers_elbow_shoulder_and_the_wrists_angles() -> None:
    _, (labels, sample, _, _, _) = through_lsl("arm_set", "replace(CONTEXT, arms=True)")
    (right,) = (hand for hand in arm_set().hands if hand.hand == "right")
    assert right.arm is not None and right.arm.shoulder_world_m is not None
    assert len(labels) == len(sample) == 119 and labels[106][0] == "state"
    told = {label: value for (label, _), value in zip(labels, sample, strict=True)}
    for point, place_m, std_m in (
        ("elbow", right.arm.elbow_world_m, np.sqrt(3e-4)),
        ("shoulder", right.arm.shoulder_world_m, 0.03),
    ):
        assert [told[f"{point}_{axis}"] for axis in "xyz"] == pytest.approx(place_m, abs=1e-6)
        assert told[f"{point}_std"] == pytest.approx(std_m)
    wrist = {"wrist_flexion": 20, "wrist_deviation": -10, "wrist_flexion_std": 5, "wrist_deviation_std": 6}
    assert {label: told[label] for label in wrist} == pytest.approx(wrist, abs=1e-4)
    assert dict(labels)["wrist_deviation_std"] == "degrees"


def test_lsl_times_follow_the_least_disturbed_reading_of_its_clock() -> None:
    readings = iter([100.0, 100.0])

    def disturbed() -> float:
        if (base := next(readings, None)) is not None:
            time.sleep(0.02)
            return base
        return time.monotonic() + 5

    clock = LslClock(disturbed)
    for _ in range(4):
        now_ns = time.monotonic_ns()
        said_s = clock.lsl_s(now_ns)
    assert said_s == pytest.approx(now_ns / 1e9 + 5, abs=0.001)


def test_websockets_serve_in_a_thread_that_ends() -> None:
    import threading

    before = threading.active_count()
    with sender(f"ws://127.0.0.1:{free_port()}"):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()

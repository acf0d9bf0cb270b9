"""OSC and UDP: what an independent receiver gets of known hands."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import ThreadingOSCUDPServer

from calibration.hand import Side
from tests.support.live_run import free_port
from tests.support.streamed_hands import (
    STD_M,
    TRACKS,
    pinch_event,
    pose_set,
    sender,
    streamed,
    true_joints_m,
    unseen_set,
    with_arm,
)

SIDES: tuple[Side, ...] = ("left", "right")


class OscReceiver:
    """python-osc's own server; the messages by address."""

    def __init__(self) -> None:
        self.got: dict[str, list[tuple[Any, ...]]] = {}
        dispatcher = Dispatcher()
        dispatcher.set_default_handler(lambda address, *values: self.got.setdefault(address, []).append(values))
        self.server = ThreadingOSCUDPServer(("127.0.0.1", 0), dispatcher)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait_for(self, address: str) -> list[tuple[Any, ...]]:
        end = time.monotonic() + 30
        while address not in self.got and time.monotonic() < end:
            time.sleep(0.005)
        return self.got[address]


@pytest.fixture
def osc() -> Iterator[OscReceiver]:
    receiver = OscReceiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def test_osc_carries_joints_times_and_gestures(osc: OscReceiver) -> None:
    poses = pose_set()
    with sender(f"osc://127.0.0.1:{osc.port}") as stream:
        stream.send(streamed(poses))
        stream.tell(pinch_event())
    assert osc.wait_for("/usthand/end") == [()]
    [(index, time_ns, unix_s, hands)] = osc.wait_for("/usthand/set")
    assert (index, time_ns, hands) == (5, poses.reference_time_ns, 2)
    assert unix_s == pytest.approx(time.time() - (time.monotonic_ns() - time_ns) / 1e9, abs=0.01)
    for side in SIDES:
        track, *joints = osc.wait_for(f"/usthand/{side}/joints")[0]
        assert track == TRACKS[side]
        assert np.abs(np.reshape(joints, (21, 3)) - true_joints_m(side)).max() < 1e-6
        assert osc.wait_for(f"/usthand/{side}/std")[0][1:] == pytest.approx([STD_M] * 21)
        assert osc.wait_for(f"/usthand/{side}/confidence")[0][1:] == pytest.approx([0.75] * 21)
        assert osc.wait_for(f"/usthand/{side}/state") == [(track, "seen", time_ns, time_ns)]
    assert osc.wait_for("/usthand/right/gestures") == [(TRACKS["right"], "pinch")]
    assert osc.wait_for("/usthand/event")[0][1:] == ("gesture", "7", "right", "began", "pinch")


def test_osc_carries_arms_that_are_known(osc: OscReceiver) -> None:
    poses = pose_set()
    left, right = with_arm(poses.hands[0], shoulder=False), with_arm(poses.hands[1])
    with sender(f"osc://127.0.0.1:{osc.port}") as stream:
        stream.send(streamed(msgspec.structs.replace(poses, hands=[left, right])))
    osc.wait_for("/usthand/end")
    for hand in (left, right):
        place, track = f"/usthand/{hand.hand}", TRACKS[hand.hand]
        assert hand.arm is not None
        [(found, *elbow_m, std_m)] = osc.wait_for(f"{place}/elbow")
        assert found == track
        assert np.abs(np.subtract(elbow_m, hand.arm.elbow_world_m)).max() < 1e-6
        assert std_m == pytest.approx(np.sqrt(3e-4))
        assert osc.wait_for(f"{place}/wrist") == [(track, *(pytest.approx(each) for each in (20.0, -10.0, 5.0, 6.0)))]
    [(_, *shoulder_m, std_m)] = osc.wait_for("/usthand/right/shoulder")
    assert right.arm is not None and right.arm.shoulder_world_m is not None
    assert np.abs(np.subtract(shoulder_m, right.arm.shoulder_world_m)).max() < 1e-6
    assert "/usthand/left/shoulder" not in osc.got


def test_udp_carries_a_line_of_json_in_each_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        poses = pose_set()
        with sender(f"udp://127.0.0.1:{receiver.getsockname()[1]}") as stream:
            stream.send(streamed(poses))
            stream.send(streamed(unseen_set(poses.reference_time_ns)))
            stream.tell(pinch_event())
        lines = [receiver.recv(65536) for _ in range(4)]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    seen, unseen, event, end = map(json.loads, lines)
    assert (seen["type"], seen["schema_version"], seen["set_index"]) == ("hands", 1, 5)
    assert seen["time_ns"] == poses.reference_time_ns
    for hand in seen["hands"]:
        assert np.abs(np.array(hand["joints_world_m"]) - true_joints_m(hand["hand"])).max() < 1e-6
        assert np.allclose(hand["std_m"], STD_M)
        assert (hand["state"], hand["track"]) == ("seen", TRACKS[hand["hand"]])
    assert [hand["gestures"] for hand in seen["hands"]] == [[], ["pinch"]]
    [held] = unseen["hands"]
    assert (held["hand"], held["state"], held["confidence"]) == ("left", "held", [0.0] * 21)
    assert held["time_ns"] - held["seen_time_ns"] == 10_000_000
    assert (event["type"], event["detail"], event["hand"]) == ("event", "pinch", "right")
    assert end["type"] == "end"


def test_a_host_of_both_kinds_of_address_gets_datagrams_by_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `localhost` is of Debian, while receivers listen at 127.0.0.1."""
    datagram = (socket.SOCK_DGRAM, socket.IPPROTO_UDP, "")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        port = receiver.getsockname()[1]
        both = [(socket.AF_INET6, *datagram, ("::1", port, 0, 0)), (socket.AF_INET, *datagram, ("127.0.0.1", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: list(both))
        with sender(f"udp://localhost:{port}") as stream:
            stream.tell(pinch_event())
        assert json.loads(receiver.recv(65536))["detail"] == "pinch"


@pytest.mark.parametrize("name", ["osc", "udp", "vmc"])
def test_who_sends_to_nobody_or_to_one_who_does_not_read_is_not_held_up(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.bind(("127.0.0.1", 0))
        poses = streamed(pose_set())
        for port in (deaf.getsockname()[1], free_port()):
            with sender(f"{name}://127.0.0.1:{port}") as stream:
                for _ in range(50):  # of 4 to 150 KB: several times what the receiver holds
                    stream.send(poses)
        deaf.settimeout(30)
        assert deaf.recv(65536)

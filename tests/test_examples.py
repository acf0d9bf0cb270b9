"""The examples, each in a process of its own as their reader runs them, on simulated cameras."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import zmq

from tests.conftest import ROOT
from tests.support.live_run import LiveRun, simulated_rig

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def start(name: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, ROOT / "examples" / name, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lines_of(example: subprocess.Popen[str]) -> list[str]:
    said, errors = example.communicate(timeout=120)
    assert example.returncode == 0, errors
    return said.splitlines()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 40


def test_poses_are_subscribed_to(tmp_path: Path) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml")
    with LiveRun(tmp_path, "live", rig, "--estimator", "simulated", "--no-viewer", "--no-mesh") as live:
        example = start("subscribe_to_poses.py", live.address, "--sets", "20")
        sets = live.poses(lambda got: example.poll() is not None, 120)
    found = [
        re.fullmatch(r"(\d+) (left|right) \((\S+), (\S+), (\S+)\) m, \+-(\S+) mm, (\S+) ms old", x)
        for x in lines_of(example)
    ]
    assert all(found)
    sent = {(str(each.set_index), hand.hand): hand.joints_world_m[8] for each in sets for hand in each.hands}
    both_got = [match.groups() for match in found if match and match.group(1, 2) in sent]  # all but the first few
    assert both_got
    for index, side, *place_m, std_mm, age_ms in both_got:
        assert [float(each) for each in place_m] == pytest.approx(sent[index, side], abs=0.0006)  # whole millimetres
        assert 0.1 < float(std_mm) < 100
        assert float(age_ms) > 0
    assert len({match[1] for match in found if match}) == 20


def test_an_own_detector_gives_hands() -> None:
    found = [
        re.fullmatch(r"\d+ right hand 1: joints (\S+) mm from the truth", x) for x in lines_of(start("own_detector.py"))
    ]
    errors_mm = [float(match[1]) for match in found if match]
    assert len(found) == len(errors_mm) == 30
    assert max(errors_mm) < 1  # a pixel, to which its dots are rounded, is 1.5 mm there


def test_an_own_camera_source_gives_frame_sets() -> None:
    lines = lines_of(start("own_camera_source.py"))
    found = [re.fullmatch(r"set (\d+): brightness \[(.*)\], (\S+) ms apart", line) for line in lines]
    assert lines and all(found)
    whole = [match[2].split(", ") for match in found if match and "," in match[2]]
    assert whole and all(first == second for first, second in whole)  # of one moment, both are as bright


def test_the_client_gives_hands_as_arrays(tmp_path: Path) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml")
    with LiveRun(tmp_path, "live", rig, "--estimator", "simulated", "--no-viewer", "--no-mesh") as live:
        example = start("hand_client.py", live.address, "--sets", "20")
        sets = live.poses(lambda got: example.poll() is not None, 120)
    sent = {
        hand.hand + str([round(each, 4) for each in hand.joints_world_m[8]]) for each in sets for hand in each.hands
    }
    lines = [ast.literal_eval(line) for line in lines_of(example)]
    assert len(lines) == 20
    got = [side + str(tip) for line in lines for side, tip, _ in line]
    assert len(sent.intersection(got)) > 10  # all but the first few


def published(example: str, message: dict) -> tuple[int, str]:
    """The exit code of an example to which this is published, and what it says of an error."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        port = publisher.bind_to_random_port("tcp://127.0.0.1")
        running = start(example, f"tcp://127.0.0.1:{port}", "--sets", "1")
        publisher.recv()  # its subscription
        publisher.send(msgspec.msgpack.encode(message))
        said, errors = running.communicate(timeout=120)
        publisher.setsockopt(zmq.LINGER, 0)
    return running.returncode, said + errors


def test_the_client_gives_the_hands_of_several_people() -> None:
    hands = [
        {
            "hand": "right",
            "track_id": track,
            "joints_world_m": [[track, 0, 0]] * 21,
            "covariance_m2": [],
            "gestures": [],
        }
        for track in (1, 2)
    ]
    code, said = published("hand_client.py", {"type": "poses", "schema_version": 1, "hands": hands})
    assert (code, said) == (0, "[('right', [1, 0, 0], []), ('right', [2, 0, 0], [])]\n")


@pytest.mark.parametrize("name", ["hand_client.py", "subscribe_to_poses.py"])
def test_what_a_client_cannot_take_is_said_in_one_line(name: str) -> None:
    code, said = published(name, {"type": "poses", "schema_version": 2, "hands": []})
    assert code == 2 and "another version" in said and "Traceback" not in said
    for address in ("foo", "tcp://127.0.0.1"):
        example = start(name, address)
        errors = example.communicate(timeout=120)[1]
        assert example.returncode == 2 and f"{address}: " in errors and "Traceback" not in errors

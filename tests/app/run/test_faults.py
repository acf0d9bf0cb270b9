"""What goes wrong on a real rig, with real processes: who goes on, what is said, what is left behind."""

import os
import shutil
import signal
import subprocess
import time

import pytest
import yaml

from app.transport.messages import PoseSet
from app.transport.sockets import Subscriber
from tests.support.live_run import ROOT, LiveRun, last_json, named_memory, simulated_rig, slowness, usthand

LIVE = ("--estimator", "simulated", "--no-viewer")


def rate_hz(sets: list[PoseSet]) -> float:
    return (len(sets) - 1) / ((sets[-1].reference_time_ns - sets[0].reference_time_ns) / 1e9)


def share_with_both_hands(sets: list[PoseSet]) -> float:
    """Not all: the simulated detector misses 3 % of the hands, of three views now and then two at once."""
    return sum(len(s.hands) == 2 for s in sets) / len(sets)


def states(pose_set, camera: str) -> str:
    return pose_set.cameras[camera].state


def test_an_unplugged_camera_is_missed_by_nobody_and_found_again(tmp_path):
    rig = simulated_rig(tmp_path / "rig.yaml", faults={"cam_2": {"disconnects": [[3.0, 3.0]]}})
    with LiveRun(tmp_path, "live", rig, *LIVE) as run:
        run.sets(10)
        gone = run.poses(lambda got: any(states(s, "cam_2") in ("lost", "failed") for s in got))[-1]
        without = run.sets(20)
        assert all("cam_2" not in hand.views for s in without[5:] for hand in s.hands)
        assert share_with_both_hands(without[5:]) > 0.8
        assert gone.cameras["cam_2"].detail
        back = run.poses(lambda got: any("cam_2" in hand.views for s in got for hand in s.hands))[-1]
        assert states(back, "cam_2") == "streaming"
        code, summary = run.interrupt()
        assert code == 0
        assert "camera cam_2: lost" in run.log.read_text()
        assert summary["mpjpe_mm"] < 6
        assert run.left_behind() == []


def test_a_stall_of_five_seconds_stops_only_its_camera(tmp_path):
    rig = simulated_rig(tmp_path / "rig.yaml", faults={"cam_1": {"stalls": [[3.0, 5.0]]}})
    with LiveRun(tmp_path, "live", rig, *LIVE) as run:
        before = run.poses(lambda got: any(states(s, "cam_1") == "stalled" for s in got))
        during = run.poses(lambda got: any(s.cameras["cam_1"].slot is not None for s in got))[:-1]
        assert len(during) > 0.5 * 4 * rate_hz([s for s in before if s.hands]), "the others keep their rate"
        assert share_with_both_hands(during[5:-5]) > 0.8
        run.poses(lambda got: any("cam_1" in hand.views for s in got for hand in s.hands))
        assert run.interrupt()[0] == 0
        assert run.left_behind() == []


def test_a_corrupt_frame_costs_one_view_of_one_set(tmp_path):
    rig = simulated_rig(tmp_path / "rig.yaml", faults={"cam_0": {"corrupt": [40, 41, 42]}})
    with LiveRun(tmp_path, "live", rig, *LIVE) as run:
        run.poses(lambda got: any(s.cameras["cam_0"].corrupt == 3 for s in got))
        after = run.sets(30)[5:]
        assert sum(s.cameras["cam_0"].slot is not None for s in after) > 0.8 * len(after)
        code, summary = run.interrupt()
        assert code == 0
        assert summary["cameras"]["cam_0"]["corrupt"] == 3
        assert "corrupt" in run.log.read_text()


def test_a_camera_of_which_every_frame_is_corrupt_says_so_until_one_is_whole(tmp_path):
    rig = simulated_rig(tmp_path / "rig.yaml", faults={"cam_0": {"corrupt": list(range(40, 160))}})
    with LiveRun(tmp_path, "live", rig, *LIVE) as run:
        told = run.poses(lambda got: any(s.cameras["cam_0"].state == "stalled" for s in got))[-1].cameras["cam_0"]
        assert told.detail.startswith("every frame is corrupt")
        run.poses(lambda got: any(s.cameras["cam_0"].slot is not None for s in got))
        lines = run.log.read_text().splitlines()
        told_of = sum("is corrupt and was left out" in line for line in lines)
        assert 1 <= told_of < 100, "not each of the 120"


def test_a_camera_at_half_the_rate_halves_nobody(tmp_path):
    rig = simulated_rig(tmp_path / "rig.yaml", faults={"cam_3": {"fps": 15.0}})
    with LiveRun(tmp_path, "live", rig, *LIVE) as run:
        run.sets(30)
        sets = run.sets(90)
        full = sum(s.cameras["cam_3"].slot is not None for s in sets) / len(sets)
        assert 0.3 < full < 0.7
        assert run.interrupt()[0] == 0


def test_a_jump_of_the_wall_clock_changes_nothing(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: the library that turns a process's wall clock cannot be built")
    library, clock = tmp_path / "wall_clock.so", tmp_path / "clock"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, ROOT / "tests/support/wall_clock.c", "-ldl"], check=True
    )
    clock.write_text("-86400")
    env = {"LD_PRELOAD": str(library), "WALL_CLOCK_FILE": str(clock)}
    told = subprocess.run(["date", "+%s"], env=env, capture_output=True, text=True, check=True).stdout
    assert int(told) == pytest.approx(time.time() - 86400, abs=60), "the wall clock can be turned"
    clock.write_text("0")
    rig = simulated_rig(tmp_path / "rig.yaml")
    with LiveRun(tmp_path, "live", rig, *LIVE, env=env) as run:
        before = run.sets(30)
        for jump in ("-86400", "+86400"):
            clock.write_text(jump)
            before += run.sets(40)
        times = [s.reference_time_ns for s in before]
        steps_ms = [(b - a) / 1e6 for a, b in zip(times, times[1:], strict=False)]
        assert min(steps_ms) > 0
        assert max(steps_ms) < 60_000
        code, summary = run.interrupt()
        assert code == 0
        assert all(camera["late"] + camera["stale"] < camera["frames"] / 2 for camera in summary["cameras"].values())


def test_a_killed_worker_is_started_again_and_subscribers_find_it(tmp_path):
    with LiveRun(tmp_path, "live", simulated_rig(tmp_path / "rig.yaml"), *LIVE) as run:
        run.sets(10)
        worker = run.child("app.worker.process")
        worker.kill()
        worker.wait(60)
        run.sets(20)
        assert run.child("app.worker.process").pid != worker.pid
        assert "worker died (killed by SIGKILL); starting it again" in run.log.read_text()
        assert run.interrupt()[0] == 0
        assert run.left_behind() == []


def test_a_killed_grabber_is_started_again_and_its_view_returns(tmp_path):
    with LiveRun(tmp_path, "live", simulated_rig(tmp_path / "rig.yaml"), *LIVE) as run:
        run.sets(10)
        grabber = run.child("app.capture.grabber", "cam_1")
        assert named_memory(grabber.pid) == [], "it would stay when the grabber is killed"
        grabber.kill()
        grabber.wait(60)
        run.poses(lambda got: any(s.hands and s.cameras["cam_1"].slot is None for s in got))
        run.poses(lambda got: any(s.hands and "cam_1" in s.hands[0].views for s in got))
        assert run.child("app.capture.grabber", "cam_1").pid != grabber.pid
        assert run.interrupt()[0] == 0
        assert run.left_behind() == []


def test_a_grabber_that_is_ended_from_outside_is_started_again(tmp_path):
    with LiveRun(tmp_path, "live", simulated_rig(tmp_path / "rig.yaml"), *LIVE) as run:
        run.sets(10)
        grabber = run.child("app.capture.grabber", "cam_1")
        grabber.terminate()
        grabber.wait(60)
        run.poses(lambda got: any(s.hands and s.cameras["cam_1"].slot is None for s in got))
        run.poses(lambda got: any(s.hands and "cam_1" in s.hands[0].views for s in got))
        assert run.interrupt()[0] == 0


def test_a_rig_without_any_camera_waits_for_one(tmp_path):
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2)
    data = yaml.safe_load(rig.read_text())
    for number, camera in enumerate(data["cameras"]):
        camera["source"] = {"kind": "opencv", "device": f"/dev/v4l/by-id/none-{number}"}
    rig.write_text(yaml.safe_dump(data))
    with LiveRun(tmp_path, "live", rig, *LIVE) as run:
        run.poses(lambda got: sum(all(c.state == "failed" for c in s.cameras.values()) for s in got) >= 3)
        assert run.process.poll() is None
        code, summary = run.interrupt()
        assert code == 1, "no camera delivered until the end"
        assert "no camera delivered: cam_0 failed, cam_1 failed" in run.log.read_text()
        assert summary["frame_sets"] == 0


def test_a_subscriber_that_never_reads_slows_no_pose(tmp_path):
    with LiveRun(tmp_path, "live", simulated_rig(tmp_path / "rig.yaml"), *LIVE) as run:
        run.sets(10)
        worker = run.child("app.worker.process")
        slow = Subscriber(backlog=2)
        slow.connect(f"ipc://{next(run.runtime.glob('usthand-*'))}/poses")
        size = worker.memory_info().rss
        # More than can wait for a subscriber: one that had to take them would stop them all.
        run.sets(300)
        assert worker.memory_info().rss - size < 30e6
        slow.close()
        assert run.interrupt()[0] == 0


def test_two_runs_do_not_know_of_each_other(tmp_path):
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2, fps=10.0)
    with LiveRun(tmp_path, "live", rig, *LIVE) as first, LiveRun(tmp_path, "live", rig, *LIVE) as second:
        first.sets(10)
        second.sets(10)
        assert first.interrupt()[0] == 0
        second.sets(10)
        assert second.interrupt()[0] == 0
        assert second.left_behind() == []


def test_ctrl_c_ends_everything_within_two_seconds(tmp_path):
    with LiveRun(tmp_path, "live", simulated_rig(tmp_path / "rig.yaml"), *LIVE) as run:
        run.sets(10)
        slow, began = slowness(), time.monotonic()
        code, summary = run.interrupt()
        seconds = time.monotonic() - began
        assert seconds < 2.0 * max(slow, slowness())
        assert code == 0
        assert summary["frame_sets"] >= 10
        assert run.left_behind() == []


def test_a_killed_supervisor_leaves_no_process_and_no_file(tmp_path):
    with LiveRun(tmp_path, "live", simulated_rig(tmp_path / "rig.yaml"), *LIVE) as run:
        run.sets(10)
        run.children()
        os.kill(run.process.pid, signal.SIGKILL)
        run.process.wait()
        assert run.left_behind() == []


def test_a_camera_that_cannot_be_opened_says_so_and_the_others_work(tmp_path):
    rig = simulated_rig(tmp_path / "rig.yaml")
    data = yaml.safe_load(rig.read_text())
    data["cameras"][1]["source"] = {"kind": "opencv", "device": "/dev/v4l/by-id/no-such-camera"}
    rig.write_text(yaml.safe_dump(data))
    with LiveRun(tmp_path, "live", rig, *LIVE) as run:
        sets = run.poses(lambda got: bool(got) and states(got[-1], "cam_1") == "failed")
        assert states(sets[-1], "cam_1") == "failed"
        assert "/dev/v4l/by-id/no-such-camera" in sets[-1].cameras["cam_1"].detail
        assert run.interrupt()[0] == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["cameras"][0].update(time_ofset=1), "time_offset"),
        (lambda d: d["cameras"][0]["T_cam_world"][0].__setitem__(0, 3.0), "not a rotation"),
        (lambda d: d["cameras"][1].update(id="cam_0"), "listed twice"),
        (lambda d: d["cameras"][0].pop("source"), "usthand cameras"),
        (lambda d: d["cameras"][0].update(time_offset=float("nan")), "time_offset"),
        (lambda d: d["cameras"][0].update(image_size=[1_000_000, 1_000_000]), "1000000x1000000"),
        (lambda d: d["cameras"][0].update(id="x" * 90), "up to 32"),
        (lambda d: d["sync"].update(tolerance_ms=-1), "tolerance_ms"),
        (lambda d: d["sync"].update(fps=float("inf")), "fps"),
    ],
)
def test_a_wrong_rig_is_refused_with_exit_code_2(tmp_path, change, says):
    rig = simulated_rig(tmp_path / "rig.yaml")
    data = yaml.safe_load(rig.read_text())
    change(data)
    rig.write_text(yaml.safe_dump(data))
    done = usthand("live", rig, *LIVE)
    assert done.returncode == 2
    assert says in done.stderr
    assert str(rig) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("overlap", ["on", "off"])
def test_the_demo_reports_the_error_against_its_truth(overlap):
    done = usthand("demo", "--drawn", "--no-viewer", "--seconds", "5", "--overlap", overlap, "--json")
    assert done.returncode == 0, done.stderr
    assert 0 < last_json(done.stdout)["mpjpe_mm"] < 6
    assert "simulated detections" in done.stdout

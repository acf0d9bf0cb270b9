"""Processes that are killed, stopped or stuck, and runs that are ended early: what is kept, and what is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
import psutil
import pytest

from app.run import supervisor
from app.run.pose_rows import part_of
from app.run.pulse import Pulse, Watched
from app.run.settings import RunFolder
from calibration.session import Session, write_session
from models.simulation.simulated_rig import ring_rig
from tests.conftest import ROOT
from tests.support.live_run import LiveRun, command_line, last_json, simulated_rig, usthand

LIVE = ("--estimator", "simulated", "--no-viewer")
SETS = 1500


@pytest.fixture(scope="module")
def long_session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Of so many frames that a replay of it does not end by itself within a test."""
    path = tmp_path_factory.mktemp("long")
    rig = ring_rig(2)
    frame = path / "frame.mp4"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=gray:size=640x480:rate=30", "-frames:v", str(SETS)]
    subprocess.run([*command, "-c:v", "mpeg4", str(frame)], check=True)
    for camera_id in rig.camera_ids:
        os.link(frame, path / f"{camera_id}.mp4")
    videos = {camera_id: f"{camera_id}.mp4" for camera_id in rig.camera_ids}
    times_ns = 10**9 + np.arange(SETS) * 33_333_333
    return write_session(path, rig, videos, dict.fromkeys(rig.camera_ids, times_ns))


def test_who_stands_still_is_told_by_counts_that_do_not_change(tmp_path):
    pulse, watched = Pulse(), Watched(tmp_path / "pulse", changed_s=0.0)
    pulse.open(tmp_path / "pulse")
    watched.look(100.0)
    assert (watched.turns, watched.stands_still(100.0, 120.0)) == (0, False), "it may load"
    assert watched.stands_still(121.0, 120.0)
    pulse.beat()
    watched.look(101.0)
    assert not watched.stands_still(130.0, 30.0)
    assert watched.stands_still(132.0, 30.0)
    pulse.work()
    watched.look(133.0)
    assert (watched.done, watched.stands_still(134.0, 30.0)) == (1, False)


@pytest.mark.parametrize(
    ("name", "load_s", "ended"), [("grabber", 0.0, True), ("grabber", 60.0, False), ("worker", 0.0, True)]
)
def test_a_process_that_never_begins_is_named_and_ended(tmp_path, caplog, name, load_s, ended):
    """Stopped as it started, or stuck in its camera's first opening."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = supervisor._Child(name=name, command=command, deaths=deque())
    child.start(RunFolder(tmp_path))
    assert child.process is not None
    child.process.send_signal(signal.SIGSTOP)
    child.end_if_hung(time.monotonic() + 1, supervisor.Patience(hung_s=0.0, load_s=load_s))
    assert (child.poll() is not None) == ended
    assert (f"{name} stands still for 0 s; its stack follows" in caplog.text) == ended
    child.process.kill()
    child.process.wait()


@pytest.mark.parametrize("words", [("app.worker.process",), ("app.capture.grabber", "cam_1")])
def test_a_process_that_stands_still_is_named_and_started_again(tmp_path, words):
    """Stopped, as one whose driver never returns."""
    rig = simulated_rig(tmp_path / "rig.yaml")
    with LiveRun(tmp_path, "live", rig, *LIVE, module="tests.support.impatient") as run:
        run.sets(10)
        stuck = run.child(*words)
        stuck.suspend()
        run.poses(lambda got: not psutil.pid_exists(stuck.pid) and any("cam_1" in s.views for s in got[-5:]))
        assert run.child(*words).pid != stuck.pid
        limit_s = 8 if "app.worker.process" in words else 4
        assert f"stands still for {limit_s} s; its stack follows" in run.log.read_text()
        assert run.interrupt()[0] == 0
        assert run.left_behind() == []


def test_a_worker_that_is_killed_loses_no_poses_of_a_live_run(tmp_path):
    poses = tmp_path / "poses.npz"
    with LiveRun(tmp_path, "live", simulated_rig(tmp_path / "rig.yaml"), *LIVE, "--poses", poses) as run:
        before = run.sets(20)[-1].reference_time_ns
        worker = run.child("app.worker.process")
        worker.kill()
        worker.wait(60)
        after = run.poses(lambda got: any(s.hands and s.reference_time_ns > before + 10**8 for s in got))[-1]
        run.sets(10)
        assert run.interrupt()[0] == 0
    with np.load(poses) as file:
        assert file["time"].min() < before
        assert file["time"].max() >= after.reference_time_ns
        assert (np.diff(file["set_time"]) > 0).all()
    assert not part_of(poses).exists()


@pytest.mark.slow
def test_two_runs_that_write_the_same_poses_lose_none(tmp_path):
    rig, poses = simulated_rig(tmp_path / "rig.yaml", cameras=2), tmp_path / "poses.npz"
    with LiveRun(tmp_path, "live", rig, *LIVE, "--poses", poses) as run:
        run.sets(5)
        second = usthand("live", rig, *LIVE, "--poses", poses)
        assert second.returncode == 2, second.stderr
        assert f"{poses}: another run writes its poses there" in second.stderr
        run.sets(5)
        code, summary = run.interrupt()
        assert code == 0
    with np.load(poses) as file:
        assert len(file["set_time"]) == summary["frame_sets"] >= 10


def test_a_recorder_that_stands_still_is_started_again(tmp_path):
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2)
    with LiveRun(tmp_path, "live", rig, *LIVE, "--record", tmp_path / "a", module="tests.support.impatient") as run:
        run.sets(10)
        stuck = run.child("app.recording.process")
        stuck.suspend()
        run.poses(lambda got: not psutil.pid_exists(stuck.pid))
        assert "recorder stands still for" in run.log.read_text()
        run.poses(lambda got: any("app.recording.process" in command_line(child) for child in run.children()))
        run.sets(10)
        assert run.interrupt()[0] == 0
        assert run.left_behind() == []


@pytest.mark.slow
def test_a_viewer_that_stands_still_and_writes_a_video_ends_the_run(tmp_path):
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2)
    arguments = ["--estimator", "simulated", "--headless", tmp_path / "a.mp4"]
    with LiveRun(tmp_path, "live", rig, *arguments, module="tests.support.impatient") as run:
        run.sets(10)
        place = next(run.runtime.glob("usthand-*"))
        run.poses(lambda got: (place / "viewer.begun").exists())
        run.child("app.viewer.process").suspend()
        assert run.process.wait(120) == 1
        assert "viewer stands still for" in run.log.read_text()
        assert "the video cannot be finished" in run.log.read_text()
        assert run.left_behind() == []


def stuck_process(tmp_path: Path, loop: str) -> subprocess.Popen:
    """A supervisor that starts a process of a run whose work never returns, and is killed then."""
    child = f"""
import sys, time, ctypes
from app.run import pulse
pulse.PulseLimits.__init__.__kwdefaults__.update(orphan_s=1.0, blocked_s=6.0)
pulse.guard.__defaults__ = (pulse.PulseLimits(),)
from app.run.process import process_parser, run_process
from app.run.settings import RunFolder
RunFolder.read = lambda self: ()
def work(folder):
    print("stuck", flush=True)
    {loop}
sys.exit(run_process("stuck", process_parser().parse_args(), work))
"""
    (tmp_path / "child.py").write_text(child)
    command = [sys.executable, str(tmp_path / "child.py"), str(tmp_path / "run")]
    parent = f"import os, subprocess, time\nsubprocess.Popen([*{command}, str(os.getpid())])\ntime.sleep(600)\n"
    (tmp_path / "run").mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", parent],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "loop",
    [
        "while True: pass",
        # A mutex that is locked twice, with the interpreter's lock held: no signal ends that.
        "c, m = ctypes.PyDLL(None), ctypes.create_string_buffer(64); [c.pthread_mutex_lock(m) for _ in range(2)]",
    ],
    ids=["in Python", "in a driver"],
)
def test_a_process_that_is_stuck_does_not_outlive_its_supervisor(tmp_path, loop):
    """It is in a loop that asks for no signal, or in a driver that does not give the interpreter back."""
    parent = stuck_process(tmp_path, loop)
    assert parent.stdout is not None and parent.stderr is not None
    assert parent.stdout.readline() == "stuck\n"
    (child,) = psutil.Process(parent.pid).children()
    parent.kill()
    said = parent.stderr.read()  # until the child has closed it
    parent.wait()
    gone, _ = psutil.wait_procs([child], timeout=60)
    assert gone or child.status() == psutil.STATUS_ZOMBIE
    assert "in work" in said, "its stack"


def replay_command(session: Session, poses: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "app", "replay", str(session.path), *LIVE, "--no-mesh", "--json"]
    return [*command, "--poses", str(poses), *more]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, "killed worker", "twice"])
def test_the_poses_of_an_interrupted_replay_are_kept(tmp_path, long_session, how):
    poses = tmp_path / "poses.npz"
    run = subprocess.Popen(
        replay_command(long_session, poses),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # under nohup it is ignored
    )
    rows = part_of(poses) / "hands"
    end = time.monotonic() + 120
    while not (rows.exists() and rows.stat().st_size > 20_000):
        assert run.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    if how == "killed worker":
        children = psutil.Process(run.pid).children()
        next(child for child in children if "app.worker.process" in child.cmdline()).kill()
    else:
        run.send_signal(signal.SIGINT if isinstance(how, str) else how)
        if how == "twice":
            time.sleep(0.2)
            run.send_signal(signal.SIGINT)
    output, said = run.communicate(timeout=120)
    assert run.returncode == 1, said
    with np.load(poses) as file:
        assert len(file["set_time"]) >= len(set(file["time"].tolist())) >= 5
        assert np.isfinite(file["joints"]).all()
    assert [path.name for path in tmp_path.iterdir()] == ["poses.npz"]
    assert last_json(output)["poses"] == str(poses)
    assert "Traceback" not in said


def test_seconds_end_a_replay_well_and_keep_its_poses(tmp_path, long_session):
    done = usthand(*replay_command(long_session, tmp_path / "poses.npz", "--seconds", "2")[3:])
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "poses.npz") as file:
        assert len(file["set_time"]) == last_json(done.stdout)["frame_sets"]


def test_a_worker_that_dies_before_it_does_anything_is_given_up(tmp_path):
    """However long each takes to start: it is progress that counts."""
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    (tmp_path / "app_dies.py").write_text(
        "import functools, sys\n"
        "from app.cli import main\n"
        "from app.run import supervisor\n"
        "supervisor.Patience = functools.partial(supervisor.Patience, deaths=3, deaths_s=0.01)\n"
        "child = supervisor._Child.start\n"
        "def start(self, folder):\n"
        "    if self.name == 'worker':\n"
        "        self.command = [sys.executable, '-c', 'raise SystemExit(7)']\n"
        "    child(self, folder)\n"
        "supervisor._Child.start = start\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "app_dies.py", "live", rig, *LIVE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "worker died 3 times before it did anything (exit code 7); giving up" in done.stderr


def test_a_process_of_a_run_may_open_more_files_than_its_shell_allows():
    script = (
        "import resource as r; from app.run.process import _allow_descriptors as allow; "
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (64, hard)); allow(); "
        "print(r.getrlimit(r.RLIMIT_NOFILE)[0] == min(hard, 65536))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"

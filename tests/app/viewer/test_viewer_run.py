"""The viewer beside a running rig: killed, stopped or closed, it takes nothing with it that it should not."""

import os
import signal
import subprocess
import time

import cv2
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.support.live_run import LiveRun, simulated_rig, slowness, usthand


@pytest.fixture
def viewed(tmp_path, x_display):
    rig = simulated_rig(tmp_path / "rig.yaml")
    with LiveRun(tmp_path, "live", rig, "--estimator", "simulated", env={"DISPLAY": x_display}) as run:
        run.sets(10)
        yield run


def window(display: str, *command: str) -> None:
    search = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "UST-Hand live", "windowfocus", "--sync"]
    subprocess.run([*search, *command], env={**os.environ, "DISPLAY": display}, check=True, timeout=60)


def test_q_in_the_window_ends_the_run_in_two_seconds(viewed, x_display):
    window(x_display)
    viewed.children()
    slow, began = slowness(), time.monotonic()
    window(x_display, "key", "q")
    viewed.process.wait(120)
    seconds = time.monotonic() - began
    assert seconds < 2.5 * max(slow, slowness())
    assert viewed.process.returncode == 0
    assert viewed.left_behind() == []


def test_a_killed_viewer_is_opened_again_while_the_worker_goes_on(viewed, x_display):
    window(x_display)
    worker, viewer = viewed.child("app.worker.process"), viewed.child("app.viewer.process")
    viewer.kill()
    viewer.wait(60)
    viewed.sets(30)
    window(x_display)
    assert viewed.child("app.worker.process").pid == worker.pid
    assert viewed.child("app.viewer.process").pid != viewer.pid
    assert "viewer died (killed by SIGKILL); starting it again" in viewed.log.read_text()
    assert viewed.interrupt()[0] == 0
    assert viewed.left_behind() == []


@pytest.mark.slow
def test_a_viewer_that_stands_still_slows_no_pose(viewed, x_display):
    """A stopped process is the worst that a covered or minimised window could be."""
    window(x_display)
    viewer = viewed.child("app.viewer.process")
    viewer.send_signal(signal.SIGSTOP)
    # More than can wait for a subscriber: one that had to take them would stop them all.
    viewed.sets(300)
    viewer.send_signal(signal.SIGCONT)
    assert viewed.interrupt()[0] == 0
    assert viewed.left_behind() == []


@pytest.mark.slow
def test_a_picture_of_each_mode_is_made_by_one_command_and_they_differ(tmp_path):
    done = usthand("demo", "--drawn", "--pictures", tmp_path / "pictures")
    assert done.returncode == 0, done.stderr
    made = {path.stem: cv2.imread(str(path)) for path in (tmp_path / "pictures").iterdir()}
    assert set(made) == {path.stem for path in (ROOT / "docs" / "pictures").iterdir()}
    assert all(picture is not None and picture.shape == (720, 1280, 3) for picture in made.values())
    assert sum(path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()) < 1_500_000
    scenes = {name: np.asarray(picture)[120:480].astype(int) for name, picture in made.items()}
    for name, scene in scenes.items():
        for other in set(scenes) - {name}:
            assert np.abs(scene - scenes[other]).max() > 60, (name, other)


@pytest.mark.parametrize("flags", [["--no-viewer"], ["--headless", "x.mp4"], ["--view", "web"]])
def test_pictures_are_of_the_window(flags, tmp_path):
    done = usthand("demo", "--drawn", "--pictures", tmp_path / "pictures", *flags)
    assert done.returncode == 2 and "--pictures" in done.stderr

"""A replay whose user pauses, steps, drags and jumps writes the very poses of one that nobody touched."""

import os
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.support.live_run import usthand
from tests.support.simulated_session import write_simulated_session

STEP_NS = 1_000_000_000


@pytest.mark.slow
def test_what_the_user_does_on_the_time_line_changes_no_pose(tmp_path, write_video, x_display):
    session = write_simulated_session(tmp_path / "session", write_video, STEP_NS)
    common = ("replay", session.path, "--estimator", "simulated", "--poses")
    assert usthand(*common, tmp_path / "plain.npz", "--fast", "--no-viewer").returncode == 0

    environment = {**os.environ, "DISPLAY": x_display}
    command = [sys.executable, "-m", "app", *map(str, (*common, tmp_path / "played.npz"))]
    log = tmp_path / "log"

    def act(*arguments: str) -> None:
        search = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "UST-Hand live", "windowfocus", "--sync"]
        subprocess.run([*search, *arguments], env=environment, check=True, timeout=60)
        time.sleep(0.5)

    with log.open("w") as file:
        run = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=file, stdout=subprocess.DEVNULL)
    try:
        act("key", "space")
        act("key", "Left", "key", "Left", "key", "Right", "key", "Right", "key", "Right")
        act("key", "space", "key", "bracketright")
        act("key", "shift+Left")
        # The right end of the time line: 45 seconds are then played at once.
        act("mousemove", "--window", "%1", "1140", "514", "click", "1")
        until = time.monotonic() + 120
        while log.read_text().count("the recording ended") < 3 and time.monotonic() < until:
            time.sleep(0.1)
        act("key", "Home", "key", "Left")
        assert run.poll() is None, "what is kept can still be looked at"
        act("key", "End", "key", "space")
        assert run.wait(120) == 0, log.read_text()
    finally:
        run.kill()
    assert (tmp_path / "played.npz").read_bytes() == (tmp_path / "plain.npz").read_bytes()

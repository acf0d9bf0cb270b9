"""Memory over a long run: nothing grows with time."""

import time

import pytest

from tests.support.live_run import LiveRun, command_line, simulated_rig


@pytest.mark.slow
def test_no_process_grows_while_a_rig_runs(tmp_path):
    """Sixty seconds after the warm-up no process may have grown by more than 6 MB, some 0.3 % of the frames it saw."""
    rig = simulated_rig(tmp_path / "rig.yaml")
    with LiveRun(tmp_path, "live", rig, "--estimator", "simulated", "--no-viewer") as run:
        run.sets(300, seconds=60)
        before = {child.pid: child.memory_info().rss for child in run.children()}
        end = time.monotonic() + 60
        while time.monotonic() < end:
            run.sets(100, seconds=60)
        grown = {" ".join(command_line(c)[2:6:3]): c.memory_info().rss - before[c.pid] for c in run.children()}
        assert len(grown) == 5
        assert max(grown.values()) < 6e6, grown
        assert run.interrupt()[0] == 0

"""Which processes load torch: only those that were asked for it."""

from pathlib import Path

from tests.support.live_run import LiveRun, simulated_rig


def test_a_worker_that_runs_no_torch_engine_loads_no_torch(tmp_path):
    rig = simulated_rig(tmp_path / "rig.yaml")
    with LiveRun(tmp_path, "live", rig, "--estimator", "simulated", "--no-viewer") as run:
        run.sets(5)
        maps = {child.pid: Path(f"/proc/{child.pid}/maps").read_text() for child in run.children()}
        assert len(maps) >= 3
        assert any("libzmq" in text for text in maps.values())
        assert [pid for pid, text in maps.items() if "libtorch" in text] == []
        run.interrupt()

"""What measuring latency has in common, with a light that fails."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.latency.delay import Delay
from app.latency.filmed_light import FilmedLight
from app.run.settings import RunSettings, run_folder
from calibration.errors import UserError
from calibration.frames import Frame
from models.simulation.simulated_rig import ring_rig


class DarkLight(FilmedLight):
    def _shine(self) -> None:
        assert self._done.wait(60.0)

    def _take(self, camera_id: str, frame: Frame) -> None: ...

    def _enough(self, now: float) -> bool:
        return False

    def _delays(self) -> Iterator[tuple[str, Delay | None, int]]:
        return iter(())

    def _said(self) -> dict:
        return {}

    def _put_out(self) -> None: ...

    def _settle(self) -> None: ...


def test_what_the_reading_thread_cannot_do_is_the_runs_error(tmp_path: Path) -> None:
    """Here it cannot listen for remote cameras, as the folder has no keys."""
    rig = ring_rig(2)
    rig = replace(rig, cameras=tuple(replace(each, remote=True) for each in rig.cameras))
    settings = RunSettings(estimator="", latency=60.0, listen="tcp://127.0.0.1:0", keys=str(tmp_path))
    with run_folder(rig, settings) as folder, pytest.raises(UserError, match="no such key"):
        DarkLight(rig, settings, folder).run()

"""Numbers in rig.yaml that no rig can have."""

import copy
import operator
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from app.assembly.published_sets import make_synchroniser
from app.run.policy import LivePolicy
from app.sources.simulated import SimulatedCapture
from app.sources.source import SourceError
from calibration.camera_source import OpenCvSource, SimulatedSource
from calibration.errors import UserError
from calibration.rig import SyncSettings, read_rig, write_rig
from models.simulation.simulated_rig import ring_rig

EXTREMES = (1e300, -1e300, 1e12, -1.0, 0.0, 5e-324, float("nan"), float("inf"), 10**30, -5)


def numbers_of(data: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where in plain data each number is."""
    if isinstance(data, bool | str) or data is None:
        return
    if isinstance(data, int | float):
        yield path
        return
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield from numbers_of(value, (*path, key))


@pytest.mark.slow
def test_each_number_of_a_rig_is_refused_or_does_no_harm(tmp_path: Path) -> None:
    """A run restarted again and again, or ended with a traceback, where a number was taken that no rig can have."""
    path = tmp_path / "rig.yaml"
    rig = ring_rig(2)
    simulated = SimulatedSource(drop=[3], corrupt=[4], stalls=[(1, 2)], disconnects=[(1, 2)], resizes=[(1, 64, 48)])
    cameras = (
        replace(rig.cameras[0], source=simulated, rmse_px=0.2),
        replace(rig.cameras[1], source=OpenCvSource(device=0, fps=30, exposure=-6, gain=1)),
    )
    write_rig(path, replace(rig, cameras=cameras, sync=SyncSettings("time", 30.0, 5.0, 50.0), time_offsets_known=True))
    whole = yaml.safe_load(path.read_text())
    taken = 0
    for place in numbers_of(whole):
        for value in EXTREMES:
            data = copy.deepcopy(whole)
            *outer, last = place
            reduce(operator.getitem, outer, data)[last] = value
            path.write_text(yaml.safe_dump(data))
            try:
                found = read_rig(path)
            except UserError:
                continue
            taken += 1
            with np.errstate(over="raise"):
                for camera in found.cameras:
                    camera.project(np.array([[0.0, 0, 0], [0.1, 0.1, 0.1]]))
            assert make_synchroniser(found, LivePolicy(), None).pop(0) is None
            if "source" in place and isinstance(found.cameras[0].source, SimulatedSource):
                with suppress(SourceError):
                    SimulatedCapture(found.cameras[0]).open()
    assert taken > 50

"""Cameras over HTTP that come late, at unequal rates, or at another rate than rig.yaml says: whole runs.

What is asked of a run is asked of so many sets in a row, whenever they come: on a busy machine that takes longer.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import yaml

from app.transport.messages import PoseSet
from tests.support.live_run import LiveRun, simulated_rig
from tests.support.stream_servers import MjpegServer, numbered_jpeg

pytestmark = pytest.mark.slow

_SIZE = 160, 120
_IN_A_ROW = 80
CAMERAS = ("cam_0", "cam_1", "cam_2", "cam_3")


class StreamedRun(ExitStack):
    """Four cameras over HTTP, and `usthand live` on them with simulated detections, which no picture matters to.

    `cameras`: by camera id, what of its `MjpegServer` is unlike 30 frames/s without delay. A delay is known to the
    rig as the camera's `time_offset`.
    """

    def __init__(self, tmp_path: Path, cameras: dict[str, dict], sync: dict | None = None, *arguments: str) -> None:
        super().__init__()
        picture = numbered_jpeg(0, *_SIZE)
        rig = simulated_rig(tmp_path / "rig.yaml", width=_SIZE[0], height=_SIZE[1])
        data = yaml.safe_load(rig.read_text())
        data["sync"] = {"mode": "time", **(sync or {})}
        for camera in data["cameras"]:
            server = self.enter_context(MjpegServer(**cameras.get(camera["id"], {})))
            server.picture = lambda number: picture
            camera["source"] = {"kind": "opencv", "device": server.url}
            camera["time_offset"] = cameras.get(camera["id"], {}).get("delay_s", 0.0)
        rig.write_text(yaml.safe_dump(data))
        options = ["--estimator", "simulated", "--no-viewer", *arguments]
        self.live = self.enter_context(LiveRun(tmp_path, "live", rig, *options))

    def has(self, good: Callable[[list[PoseSet]], bool], note: str = "", of: tuple[str, ...] = ()) -> None:
        """Waits for sets in a row that are `good`, and until each camera of `of`, and it alone, has such a note."""

        def seen(got: list[PoseSet]) -> bool:
            last = [s for s in got if s.set_index >= 0][-_IN_A_ROW:]
            if len(last) < _IN_A_ROW or not good(last):
                return False
            return {c for c in CAMERAS if note in last[-1].cameras[c].detail} == set(of) if note else True

        self.live.poses(seen, seconds=240)
        assert self.live.interrupt()[0] == 0
        assert self.live.left_behind() == []


def share_with(sets: list[PoseSet], *camera_ids: str) -> float:
    """Of sets, those in which all these cameras took part."""
    return float(np.mean([set(camera_ids) <= set(s.views) for s in sets]))


def share_with_hands(sets: list[PoseSet]) -> float:
    return float(np.mean([bool(s.hands) for s in sets]))


@pytest.mark.parametrize(("delay_s", "sync"), [(0.15, {}), (0.4, {"deadline_ms": 800})])
def test_a_stream_that_is_known_to_be_late_is_in_the_sets(tmp_path: Path, delay_s: float, sync: dict) -> None:
    """It was in none of 367, by itself and over a longer wait that rig.yaml asked for."""
    with StreamedRun(tmp_path, {"cam_3": {"delay_s": delay_s}}, sync, "--max-age-ms", "3000") as run:
        run.has(lambda sets: share_with(sets, "cam_3") > 0.5 * share_with(sets, "cam_0"))


def test_a_stream_that_is_later_than_a_set_waits_is_named(tmp_path: Path) -> None:
    with StreamedRun(tmp_path, {"cam_3": {"delay_s": 0.6}}, {}, "--max-age-ms", "3000") as run:
        run.has(lambda sets: share_with(sets, "cam_0", "cam_1", "cam_2") > 0.5, "sync.deadline_ms", of=("cam_3",))
        assert "camera cam_3: late" in run.live.log.read_text()


def test_streams_of_unequal_rates_make_no_sets_of_one_view(tmp_path: Path) -> None:
    """Two at 30 and two at 25 frames/s: a third of the sets had one view, and were published as having no hands."""
    cameras = {"cam_1": {"phase_s": 0.01}, "cam_2": {"fps": 25, "phase_s": 0.02}, "cam_3": {"fps": 25}}
    with StreamedRun(tmp_path, cameras) as run:
        run.has(lambda sets: share_with_hands(sets) > 0.85 and share_with(sets, *CAMERAS) > 0.4)


def test_streams_at_half_the_rate_of_the_rig_file_make_whole_sets_and_are_named(tmp_path: Path) -> None:
    """As webcams that halve their rate in dim light: nearly all sets had two views."""
    phases_s = {"cam_0": 0.0, "cam_1": 0.02, "cam_2": 0.04, "cam_3": 0.0}
    cameras = {camera_id: {"fps": 15, "phase_s": phase_s} for camera_id, phase_s in phases_s.items()}
    with StreamedRun(tmp_path, cameras, {"fps": 30}) as run:
        run.has(lambda sets: share_with(sets, *CAMERAS) > 0.7, "sync.fps: 30", of=CAMERAS)

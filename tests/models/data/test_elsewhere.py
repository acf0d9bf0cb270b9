"""Crops in which no hand is: where they lie, and which images they are of."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from calibration.errors import UserError
from models.data import elsewhere
from models.data.crop_cache import MARGIN, read_cache
from models.data.elsewhere import cache_elsewhere, crops_elsewhere
from models.files.labels import Labels
from models.hand.skeleton import MEAN_BONE_LENGTHS_M, REST_ANGLES_RAD, chain

HAND_PX = 900 * chain(REST_ANGLES_RAD, MEAN_BONE_LENGTHS_M).joints_m[:, :2]
HAND_PX -= HAND_PX.mean(0)
PERIOD_NS, OFFSET_NS = 100, 30


class Video:
    """Each pixel says where it is; blue stands for what is no image."""

    def grab(self) -> bool:
        return True

    def retrieve(self) -> np.ndarray:
        v, u = np.mgrid[:480, :640]
        return np.stack([np.full_like(u, 255), v * 255 // 479, u * 255 // 639], axis=-1).astype(np.uint8)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("shift_ns", [0, OFFSET_NS])
def test_no_joint_is_in_them_and_no_image_lacks_a_hand(shift_ns: int) -> None:
    times = np.arange(5) * PERIOD_NS
    middles = [(120, 130), (420, 300)]
    flat = [(0, middles[0]), (0, middles[1]), (2, (300, 220)), (3, middles[0]), (3, middles[1])]
    labels = Labels(
        camera=np.zeros(len(flat), np.int16),
        time_ns=np.array([times[frame] - shift_ns for frame, _ in flat]),
        right=np.ones(len(flat), bool),
        keypoints_px=np.array([HAND_PX + middle for _, middle in flat], np.float32),
        confidence=np.ones((len(flat), 21), np.float32),
        source="a test",
    )
    session = SimpleNamespace(
        camera_ids=("cam_0",),
        rig=SimpleNamespace(cameras=(SimpleNamespace(time_offset_ns=OFFSET_NS),)),
        open_video=lambda camera_id: Video(),
        frame_times_ns=lambda camera_id: times,
    )
    crops = list(crops_elsewhere(session, labels))  # type: ignore[arg-type]
    assert 4 <= len(crops) <= 6  # of the two images in which both hands are
    side = crops[0].shape[0]
    rim = int(np.ceil(side * (1 - 1 / MARGIN) / 2)) + 8
    for crop in crops:
        inner = crop[rim:-rim, rim:-rim]
        there = inner[..., 2] > 250
        assert there.mean() > 0.7
        u, v = (inner[there][:, channel].astype(float) * size / 255 for channel, size in ((0, 639), (1, 479)))
        assert min(np.hypot(u - x, v - y).min() for middle in middles for x, y in HAND_PX + middle) > 4


def test_crops_are_written_shard_by_shard_into_a_new_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crops = [np.full((280, 280, 3), number, np.uint8) for number in range(5)]
    session = SimpleNamespace(path=tmp_path, camera_ids=("cam_0",))
    monkeypatch.setattr(elsewhere, "check_session", lambda path: session)
    monkeypatch.setattr(elsewhere, "read_labels", lambda path, cameras: SimpleNamespace(definition="detector"))
    monkeypatch.setattr(elsewhere, "crops_elsewhere", lambda session, labels: iter(crops))
    monkeypatch.setattr(elsewhere, "_SHARD", 2)
    assert cache_elsewhere(tmp_path, tmp_path / "out") == 5
    shards = read_cache(tmp_path / "out")[1]
    assert [shard.crops_rgb[:, 0, 0, 0].tolist() for shard in shards] == [[0, 1], [2, 3], [4]]
    with pytest.raises(UserError, match="out: is a crop cache already"):
        cache_elsewhere(tmp_path, tmp_path / "out")

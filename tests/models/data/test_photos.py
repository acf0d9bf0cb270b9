"""Crops of photographs and films: what is refused, and that a film's hand becomes shards while it is read."""

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from models.data import photos
from models.data.crop_cache import read_cache
from models.hand.skeleton import MEAN_BONE_LENGTHS_M, REST_ANGLES_RAD, chain
from models.network.landmark_net import LandmarkNet

SIZE = (320, 240)
HAND_PX = 800 * chain(REST_ANGLES_RAD, MEAN_BONE_LENGTHS_M).joints_m[:, 1::-1] * [1, -1]
HAND_PX += np.array(SIZE) / 2 - HAND_PX.mean(0)


class Network:
    """Finds the hand where it was given: in the middle of an upright crop."""

    def __init__(self, found: bool = True) -> None:
        self._logit = 5.0 if found else -5.0

    def eval(self) -> "Network":
        return self

    def __call__(self, crops: torch.Tensor) -> SimpleNamespace:
        points_px = HAND_PX - HAND_PX.mean(0)
        points_px = 112 + 160 * points_px / np.ptp(points_px[:, 1])
        image = torch.from_numpy(np.append(points_px, np.zeros((21, 1)), 1)).float()[None]
        return SimpleNamespace(presence_logit=torch.tensor([self._logit]), image=image)


class Video:
    """Ten grey frames; counts how many were read."""

    read_frames = 0

    def __init__(self, _: str) -> None:
        type(self).read_frames = 0

    def isOpened(self) -> bool:
        return True

    def read(self) -> tuple[bool, np.ndarray]:
        type(self).read_frames += 1
        return self.read_frames <= 10, np.full((*SIZE[::-1], 3), 90, np.uint8)

    def release(self) -> None:
        pass


def test_a_film_becomes_shards_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = tmp_path / "film.mp4"
    film.touch()
    monkeypatch.setattr(cv2, "VideoCapture", Video)
    monkeypatch.setattr(photos, "_SHARD", 4)
    network: LandmarkNet = Network()  # type: ignore[assignment]
    shards = photos.of_video(network, film, HAND_PX, True, 1)
    first = next(shards)
    assert Video.read_frames == 4 and len(first.crops_rgb) == 4
    assert [len(shard.crops_rgb) for shard in shards] == [4, 2]
    assert photos.write(tmp_path / "out", photos.of_video(network, film, HAND_PX, True, 3), "film") == 3
    assert sum(len(shard.crops_rgb) for shard in read_cache(tmp_path / "out")[1]) == 3


def test_a_film_without_a_hand_leaves_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "film.mp4").touch()
    monkeypatch.setattr(cv2, "VideoCapture", Video)
    network: LandmarkNet = Network(found=False)  # type: ignore[assignment]
    with pytest.raises(photos.UserError, match="film: no hand is found"):
        photos.write(tmp_path / "out", photos.of_video(network, tmp_path / "film.mp4", HAND_PX, True, 1), "film")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--video", "film.mp4", "--first", "missing.npy"), "missing.npy: no keypoints (No such file"),
        (("--video", "film.mp4", "--first", "junk.npy"), "junk.npy: no keypoints ("),
        (("--video", "film.mp4", "--first", "short.npy"), "short.npy: no keypoints ((20, 2), expected (21, 2)"),
        (("--video", "film.mp4", "--first", "first.npy"), "film.mp4: cannot be read as a video"),
        (("--video", "missing.mp4", "--first", "first.npy"), "missing.mp4: cannot be read as a video"),
        (("--images", ".", "--labels", "missing.npz"), "missing.npz: cannot be read as labels of photographs"),
        (("--images", ".", "--labels", "junk.npy"), "junk.npy: cannot be read as labels of photographs"),
        (("--images", ".", "--labels", "few.npz"), "few.npz: no `keypoints_px`. Give a file with image, keypoints_px"),
        (("--images", ".", "--labels", "short.npz"), "short.npz: `disagreement` has shape (1,), expected (2,)"),
    ],
)
def test_files_that_are_none_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(photos, "read_landmark_net", lambda _: Network())
    for name in ("film.mp4", "junk.npy"):
        Path(name).write_bytes(b"nothing of the kind")
    np.save("first.npy", HAND_PX)
    np.save("short.npy", HAND_PX[:20])
    np.savez("few.npz", image=np.array(["a.png"]))
    whole = {"image": np.array(["a.png", "b.png"]), "keypoints_px": np.zeros((2, 21, 2))}
    np.savez("short.npz", **whole, handedness_mirrored_view=np.array(["Left", "Right"]), disagreement=np.zeros(1))
    monkeypatch.setattr(sys, "argv", ["photos", "weights", "out", *words])
    assert photos.main() == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("words", [(), ("--video", "film.mp4"), ("--images", "."), ("--every", "0", "--images", ".")])
def test_flags_that_do_not_go_together_are_refused(monkeypatch: pytest.MonkeyPatch, words: tuple) -> None:
    monkeypatch.setattr(sys, "argv", ["photos", "weights", "out", *words])
    with pytest.raises(SystemExit) as refused:
        photos.main()
    assert refused.value.code == 2

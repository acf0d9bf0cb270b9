"""What judges the pictures, and the picture to judge by."""

import cv2
import numpy as np
import pytest

from app.bench.realism import detection_rate, open_hands
from app.estimators.detectors.mediapipe_hands import MediaPipeHands
from calibration.errors import UserError
from calibration.frames import Frame
from models.simulation.contact_sheet import write_contact_sheet
from models.simulation.renderer import hands_in_image


def test_the_rate_counts_hits_misses_and_false_finds() -> None:
    truth = {index: hands_in_image(camera, state)[0].keypoints_px for index, (camera, state, _) in _hands(6)}
    turn = iter(range(6))

    def detect(_image: np.ndarray) -> list[np.ndarray]:
        index = next(turn)
        far = [truth[index] + 300.0]
        return [[], far, *[[*far, truth[index]]] * 4][index]

    rate = detection_rate(detect, 6, seed=2)
    assert rate.found == pytest.approx(4 / 6)
    assert rate.error == pytest.approx(0.0, abs=1e-9)
    palms = [palm for _, (_, _, palm) in _hands(6)]
    assert rate.palm_found == pytest.approx(np.mean([index >= 2 for index, palm in enumerate(palms) if palm]))


def _hands(count: int):
    return list(enumerate(open_hands(count, seed=2)))


def test_mediapipe_takes_the_rendered_hands_for_hands() -> None:
    detector = MediaPipeHands()

    def detect(image: np.ndarray) -> list[np.ndarray]:
        frame = Frame(camera_id="judge", sequence=0, capture_time_ns=0, grab_time_ns=0, publish_time_ns=0, pixels=image)
        return [found.keypoints_px for found in detector.detect([frame], [[]], [True])[0]]

    try:
        rate = detection_rate(detect, 20)
    finally:
        detector.close()
    assert rate.found >= 0.8
    assert rate.error < 0.06


def test_the_contact_sheet_shows_a_hand_in_every_tile(tmp_path) -> None:
    with pytest.raises(UserError, match="no background image"):
        write_contact_sheet(tmp_path / "sheet.png", backgrounds=tmp_path)
    cv2.imwrite(str(tmp_path / "blue.png"), np.full((60, 80, 3), (250, 0, 0), np.uint8))
    write_contact_sheet(tmp_path / "new" / "sheet.png", seed=4, backgrounds=tmp_path)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]
    sheet = np.asarray(cv2.imread(str(tmp_path / "new" / "sheet.png")))
    assert sheet.shape == (4 * 192 + 384, 8 * 192, 3)
    # Sensors turn blue to many blues, but never to one in which red is strongest.
    tiles = sheet[: 4 * 192].reshape(4, 192, 8, 192, 3).swapaxes(1, 2).reshape(32, -1, 3).astype(int)
    skin_or_thing = (tiles[..., 0] < tiles[..., 1:].max(axis=-1) + 40).mean(axis=1)
    assert (skin_or_thing > 0.05).all()
    assert (skin_or_thing < 0.9).all()

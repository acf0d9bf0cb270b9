"""How blurred pictures are said to be, against the blur that was put in."""

import cv2
import numpy as np
import pytest

from app.estimators.detectors.mediapipe_hands import HandDetectorSettings, detection_of
from app.estimators.detectors.sharpness import blur_px


def shapes(blur: float, noise: float = 0.0) -> np.ndarray:
    """Discs and bars of many sizes and shades, blurred, and then with a sensor's noise."""
    random = np.random.default_rng(3)
    picture = np.full((224, 224, 3), 120, np.uint8)
    for _ in range(25):
        centre = tuple(int(each) for each in random.integers(0, 224, 2))
        shade = tuple(int(each) for each in random.integers(30, 230, 3))
        cv2.circle(picture, centre, int(random.integers(15, 45)), shade, -1, cv2.LINE_AA)
    if blur:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    noisy = picture + random.normal(0, noise, picture.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("blur", [2.0, 3.0, 5.0])
def test_the_blur_of_a_picture_is_found(blur: float) -> None:
    assert blur_px(shapes(blur)) == pytest.approx(blur, rel=0.25)


def test_a_wider_blur_is_said_to_be_wider_though_edges_run_into_each_other() -> None:
    said = [blur_px(shapes(blur)) for blur in (0.0, 1.0, 2.0, 4.0, 6.0, 9.0, 13.0, 20.0)]
    assert said == sorted(said) and said[-1] > 8


def test_a_sharp_picture_is_not_blurred_and_noise_does_not_hide_a_blur() -> None:
    assert blur_px(shapes(0.0)) < HandDetectorSettings().usual_blur_px
    assert blur_px(shapes(6.0, noise=2.0)) > 3


def test_a_picture_without_edges_is_as_blurred_as_can_be() -> None:
    assert blur_px(np.full((224, 224, 3), 90, np.uint8)) == 30


def test_keypoints_of_a_blurred_crop_state_a_larger_error_those_of_a_sharp_one_the_same() -> None:
    crop_px = np.random.default_rng(0).uniform(40, 180, (21, 2))
    image_from_crop = np.array([[0.5, 0.0, 100.0], [0.0, 0.5, 80.0]])
    settings = HandDetectorSettings()
    stds_px = []
    for blur in (0.0, settings.usual_blur_px, 5.0):
        found = detection_of(settings, image_from_crop, crop_px, 0.95, 0.9, blur)
        assert found is not None
        stds_px.append(found.std_px[0])
    assert stds_px[0] == stds_px[1]
    usual_px = np.hypot(0.5 * settings.usual_blur_px, settings.usual_blur_image_px)
    added_px = settings.std_of_blur * np.sqrt((0.5 * 5.0) ** 2 - usual_px**2)
    assert stds_px[2] == pytest.approx(np.hypot(stds_px[0], added_px))


def test_a_small_hand_is_not_taken_for_a_blurred_one() -> None:
    """Its crop is four times as large as its picture, so a sharp picture's edges are four pixels wide in it."""
    crop_px = np.random.default_rng(0).uniform(40, 180, (21, 2))
    image_from_crop = np.array([[0.25, 0.0, 100.0], [0.0, 0.25, 80.0]])
    sharp, blurred = (
        detection_of(HandDetectorSettings(), image_from_crop, crop_px, 0.95, 0.9, blur) for blur in (0.0, 4.0)
    )
    assert sharp is not None and blurred is not None and np.array_equal(sharp.std_px, blurred.std_px)

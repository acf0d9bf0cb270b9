"""The size of a JPEG by its header, against OpenCV's encoder; what is none is told."""

import cv2
import numpy as np
import pytest

from app.sources.jpeg_header import jpeg_size


@pytest.mark.parametrize("flags", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_QUALITY, 20]])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (640, 480), (31, 2000)])
def test_of_what_opencv_wrote(width: int, height: int, flags: list[int]) -> None:
    data = cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8), flags)[1].tobytes()
    assert jpeg_size(memoryview(data)) == (width, height)
    for end in (0, 1, 2, 5, 20):
        assert jpeg_size(data[:end]) is None


@pytest.mark.parametrize("ending", [".png", ".jp2", ".tiff", ".webp", ".bmp"])
def test_other_formats_are_none(ending: str) -> None:
    assert jpeg_size(cv2.imencode(ending, np.zeros((48, 64, 3), np.uint8))[1].tobytes()) is None


def test_no_bytes_make_it_fail() -> None:
    random = np.random.default_rng(0)
    data = np.frombuffer(cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes(), np.uint8)
    for _ in range(2000):
        changed = data[:200].copy()
        changed[random.integers(2, 200, 4)] = random.integers(0, 256, 4)
        size = jpeg_size(changed.tobytes())
        assert size is None or all(0 <= side < 65536 for side in size)

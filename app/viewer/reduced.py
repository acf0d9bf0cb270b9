"""Images made smaller, quickly: for pictures that are drawn thirty times a second."""

import cv2
import numpy as np


def reduced(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """A copy (height, width, 3) of an image: halved by averaging while it is twice as large, then interpolated.

    OpenCV averages pairs of pixels ten times as fast as any other ratio.
    """
    while (
        image.shape[1] >= 2 * width and image.shape[0] >= 2 * height and not (image.shape[0] % 2 or image.shape[1] % 2)
    ):
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    if image.shape[1] > 2 * width:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)

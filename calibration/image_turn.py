"""How the images of a source that mirrors or lies on its side are turned upright, where they enter.

All that comes after sees upright images: the sizes, lenses and poses in `rig.yaml`, detections, labels, the viewer.
"""

from dataclasses import dataclass

import cv2
import numpy as np

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True)
class ImageTurn:
    """What makes a source's image upright: left and right are exchanged if it is `mirrored`, then it is turned
    clockwise by `rotate` degrees: 0, 90, 180 or 270."""

    mirrored: bool = False
    rotate: int = 0

    def __bool__(self) -> bool:
        """Whether anything is to be done."""
        return self.mirrored or self.rotate != 0

    def exchanged(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of the source's image for that of the upright one, and the other way round."""
        return size if self.rotate in (0, 180) else (size[1], size[0])

    def upright(self, image: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The upright image of a source's image (H, W) or (H, W, 3), in `out` where that is given."""
        if self.mirrored:
            image = cv2.flip(image, 1, None if self.rotate else out)
        if self.rotate:
            image = cv2.rotate(image, _TURNS[self.rotate], out)
        return image

    @property
    def ffmpeg_filter(self) -> str:
        """The same as a filter of ffmpeg."""
        turns = {0: [], 90: ["transpose=clock"], 180: ["hflip", "vflip"], 270: ["transpose=cclock"]}[self.rotate]
        return ",".join(["hflip"] * self.mirrored + turns)

    def __str__(self) -> str:
        """As in `rig.yaml`."""
        parts = ["mirrored: true"] * self.mirrored + [f"rotate: {self.rotate}"] * (self.rotate != 0)
        return ", ".join(parts)

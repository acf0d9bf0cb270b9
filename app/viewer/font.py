"""Text on images.

`roboto.npz` holds the glyphs of Roboto Medium (Apache-2.0, github.com/googlefonts/roboto) drawn once at 48 pixels:
OpenCV's own stroke fonts read badly at small sizes.
"""

from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np

from app.viewer.palette import bgr


@cache
def _atlas() -> tuple[np.ndarray, np.ndarray, dict[str, int], int, int]:
    with np.load(Path(__file__).with_name("roboto.npz")) as file:
        index = {character: number for number, character in enumerate(str(file["characters"]))}
        return file["glyphs"], file["advance"], index, int(file["size"]), int(file["pad"])


@lru_cache(maxsize=256)
def text_mask(text: str, size_px: float) -> np.ndarray:
    """Coverage (height, width) in [0, 1] of one line of text; `size_px` is the font's size."""
    glyphs, advance, index, size, pad = _atlas()
    numbers = [index.get(character, index["?"]) for character in text]
    starts = np.concatenate([[0.0], np.cumsum(advance[numbers])]) if numbers else np.zeros(1)
    line = np.zeros((glyphs.shape[1], int(np.ceil(starts[-1])) + glyphs.shape[2]), np.uint8)
    for number, start in zip(numbers, starts[:-1], strict=True):
        at = round(float(start))
        part = line[:, at : at + glyphs.shape[2]]
        np.maximum(part, glyphs[number], out=part)
    line = line[:, pad : pad + max(1, int(np.ceil(starts[-1])))]
    scale = size_px / size
    width, height = max(1, round(line.shape[1] * scale)), max(1, round(line.shape[0] * scale))
    mask = cv2.resize(line, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    mask.flags.writeable = False
    return mask


def draw_text(
    image: np.ndarray, text: str, x: int, middle_y: int, size_px: float, colour: np.ndarray, align: float = 0.0
) -> int:
    """Draw on a BGR image (H, W, 3) uint8 around the line `middle_y`; returns the text's width in pixels.

    `align` 0 puts the text's left end at `x`, 1 its right end. What lies outside the image is cut off.
    """
    mask = text_mask(text, size_px)
    height, width = mask.shape
    left, top = x - round(align * width), middle_y - height // 2
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + width, image.shape[1]), min(top + height, image.shape[0])
    if x0 < x1 and y0 < y1:
        alpha = mask[y0 - top : y1 - top, x0 - left : x1 - left, None]
        part = image[y0:y1, x0:x1]
        part[:] = (part + (np.array(bgr(colour), np.float32) - part) * alpha + 0.5).astype(np.uint8)
    return width


def text_width(text: str, size_px: float) -> int:
    """Width in pixels of the text as drawn."""
    return text_mask(text, size_px).shape[1]


def wrapped(text: str, size_px: float, room_px: int) -> list[str]:
    """The text in lines of at most this width; a word that is wider is broken."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".lstrip()
        if text_width(joined, size_px) <= room_px:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if lines[-1] and text_width(lines[-1] + character, size_px) > room_px:
                lines.append("")
            lines[-1] += character
    return lines

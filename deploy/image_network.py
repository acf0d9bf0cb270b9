"""A network over a batch of images: one ONNX file, whose one input and whose outputs begin with the same batch axis."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from calibration.errors import UserError


class ImageNetwork(Protocol):
    """Called from one thread. `name` is that of the runtime, `outputs` are the names of the outputs in order."""

    name: str
    outputs: tuple[str, ...]

    def __call__(self, images: Iterable[np.ndarray]) -> list[np.ndarray]:
        """The outputs (N, ...) for N images, an array or one by one; they are the caller's to keep. N is at least 1.

        A runtime that runs each image by itself begins with the first while the next ones are still being made.
        """
        ...

    def close(self) -> None: ...


class WrongImage(UserError):
    """A network that takes other images than it is to be given."""


def check_input(path: Path, inputs: Sequence[tuple[int | None, ...]], image_shape: tuple[int, ...]) -> None:
    """Compare the sizes of a file's `inputs` (None: any) with (N, *image_shape).

    Raises WrongImage where they differ or it has several inputs.
    """
    if len(inputs) != 1:
        raise WrongImage(f"{path}: {len(inputs)} inputs, expected one, the image.")
    found = inputs[0]
    fits = len(found) == len(image_shape) + 1 and all(
        size in (None, expected) for size, expected in zip(found[1:], image_shape, strict=True)
    )
    if not fits:
        shown = " x ".join("any" if size is None else str(size) for size in found)
        raise WrongImage(f"{path}: takes images of {shown}, expected batch x {' x '.join(map(str, image_shape))}.")


def batch_of(images: Iterable[np.ndarray]) -> np.ndarray:
    """The images as one array (N, ...)."""
    return images if isinstance(images, np.ndarray) else np.stack(list(images))


BATCHES = (1, 2, 4, 8, 16)
"""The sizes that batches are filled up to, where a runtime prepares itself for each new size."""


def padded(images: np.ndarray) -> np.ndarray:
    """Images (N, ...) with the last one repeated, up to the next of BATCHES or a multiple of the largest."""
    largest = BATCHES[-1]
    size = next((size for size in BATCHES if size >= len(images)), -(-len(images) // largest) * largest)
    return (
        np.concatenate([images, np.repeat(images[-1:], size - len(images), axis=0)]) if size > len(images) else images
    )

"""The YAML file beside a user's detector: what its network takes, and how keypoints come out. See docs/detectors.md."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from calibration.errors import UserError
from calibration.hand import JOINT_NAMES
from calibration.yamlfile import read_yaml

Pixels = Annotated[int, msgspec.Meta(ge=16, le=2048)]
Triple = tuple[float, float, float]


class InputSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The crop that the network takes, in pixels; each channel from 0 to 255 is less `mean` and divided by `std`."""

    width: Pixels
    height: Pixels
    layout: Literal["nchw", "nhwc"] = "nchw"
    colour: Literal["rgb", "bgr"] = "rgb"
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (255.0, 255.0, 255.0)


class OutputSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`names` are the outputs with keypoints, `presence` and `handedness` those of such probabilities, where there are.

    `unit` is that of coordinates: pixels of the crop, or shares of its width and height. `split` is how many bins of
    SimCC a pixel has.
    """

    kind: Literal["coordinates", "heatmaps", "simcc"]
    names: tuple[str, ...] | None = None
    unit: Literal["pixels", "share"] = "pixels"
    split: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    presence: str | None = None
    handedness: str | None = None


class UserDetectorSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`keypoints` names the 21 joints in the network's order, as calibration.hand.JOINT_NAMES does.

    `crop_scale` widens MediaPipe's crop, which is about 1.3 times as wide as the hand. `least_presence`: below, there
    is no hand. `std_of_size` is the keypoints' error as a share of the hand's size in the image.
    """

    input: InputSettings
    output: OutputSettings
    keypoints: tuple[str, ...] = JOINT_NAMES
    crop_scale: Annotated[float, msgspec.Meta(ge=0.5, le=3)] = 1.0
    least_presence: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.3
    std_of_size: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.036


def read_user_settings(onnx: Path) -> UserDetectorSettings:
    """The settings in the file of the same name that ends in `.yaml`.

    Raises UserError where the ONNX file or the YAML file is missing, and for an entry that does not fit.
    """
    if onnx.suffix != ".onnx" or not onnx.is_file():
        raise UserError(f"`--detector {onnx}`: no such file, or none that ends in `.onnx`. See docs/detectors.md.")
    path = onnx.with_suffix(".yaml")
    if not path.is_file():
        raise UserError(f"{path}: no such file. Describe the network's input and output there; see docs/detectors.md.")
    settings = read_yaml(path, UserDetectorSettings)
    _check_keypoints(path, settings.keypoints)
    if not all(settings.input.std):
        raise UserError(f"{path}: `std` has a zero, by which nothing can be divided.")
    return settings


def _check_keypoints(path: Path, names: tuple[str, ...]) -> None:
    unknown = [name for name in names if name not in JOINT_NAMES]
    missing = [name for name in JOINT_NAMES if name not in names]
    if len(names) == len(JOINT_NAMES) and not unknown and not missing:
        return
    wrong = f"; unknown: {', '.join(unknown)}" if unknown else ""
    lacking = f"; missing: {', '.join(missing)}" if missing else ""
    raise UserError(
        f"{path}: `keypoints` has {len(names)} names, expected the {len(JOINT_NAMES)} joints once each{wrong}{lacking}."
    )

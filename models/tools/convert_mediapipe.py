"""`python -m models.tools.convert_mediapipe WHEEL VIDEO [VIDEO ...]` writes models/weights/mediapipe from the wheel.

WHEEL is mediapipe 0.10.21's file (`pip download --no-deps mediapipe==0.10.21`), the last release with models inside.
The result is checked against the original on squares of the videos' frames. Runs in an environment of its own:
`pip install ai-edge-litert onnx onnxruntime opencv-python-headless msgspec PyYAML`.
"""

import hashlib
import importlib
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibration.written_files import write_atomic
from models.tools.tflite import read_tflite
from models.tools.tflite_to_onnx import ModelSpec, OutputSpec, kept, to_onnx

FOLDER = Path(__file__).resolve().parents[1] / "weights" / "mediapipe"
PALM = ModelSpec(
    name="palm_detection",
    input="images_rgb",
    side=192,
    batch="views",
    outputs=(OutputSpec(name="boxes", shape=(2016, 18)), OutputSpec(name="scores", shape=(2016,))),
)
LANDMARK = ModelSpec(
    name="hand_landmark",
    input="crops_rgb",
    side=224,
    batch="hands",
    outputs=(
        OutputSpec(name="landmarks", shape=(21, 3)),
        OutputSpec(name="presence", shape=()),
        OutputSpec(name="handedness", shape=()),
        OutputSpec(name="world_landmarks", shape=(21, 3)),
    ),
)
POSE_DETECTION = ModelSpec(
    name="pose_detection",
    input="images_rgb",
    side=224,
    batch="views",
    least=-1,
    outputs=(OutputSpec(name="boxes", shape=(2254, 12)), OutputSpec(name="scores", shape=(2254,))),
)
POSE_LANDMARK = ModelSpec(
    name="pose_landmark",
    input="crops_rgb",
    side=256,
    batch="bodies",
    outputs=(
        OutputSpec(name="landmarks", shape=(39, 5)),
        OutputSpec(name="presence", shape=()),
        None,  # the mask of the body
        OutputSpec(name="heatmaps", shape=(39, 64, 64)),
        OutputSpec(name="world_landmarks", shape=(39, 3)),
    ),
)
_SOURCES = {
    "mediapipe/modules/palm_detection/palm_detection_full.tflite": PALM,
    "mediapipe/modules/hand_landmark/hand_landmark_full.tflite": LANDMARK,
    "mediapipe/modules/pose_detection/pose_detection.tflite": POSE_DETECTION,
    "mediapipe/modules/pose_landmark/pose_landmark_full.tflite": POSE_LANDMARK,
}
_FRAMES, _STEP = 8, 5
_LARGEST_DIFFERENCE = 0.03  # pixels for landmarks and boxes; a few times what was found


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """One converted model: its ONNX file, and the largest difference of each output from the original's."""

    source: str
    original: bytes
    spec: ModelSpec
    content: bytes
    differences: dict[str, float]


def squares(videos: list[Path], side: int) -> np.ndarray:
    """Squares of a few frames of each video, (N, side, side, 3) uint8 RGB: the middle, and a tighter one beside it."""
    found = []
    for path in videos:
        video = cv2.VideoCapture(str(path))
        frames = [video.read()[1] for _ in range(_FRAMES * _STEP)][::_STEP]
        for image in frames:
            if image is None:
                continue
            height, width = image.shape[:2]
            left = (width - height) // 2
            crops = image[:, left : left + height], image[height // 3 :, left : left + 2 * height // 3]
            found += [cv2.cvtColor(cv2.resize(crop, (side, side)), cv2.COLOR_BGR2RGB) for crop in crops]
    return np.stack(found)


def original_outputs(content: bytes, images_rgb: np.ndarray, least: int = 0) -> list[np.ndarray]:
    """What TensorFlow Lite answers, in the file's order of outputs, each (N, ...), planes before rows and columns."""
    litert: Any = importlib.import_module("ai_edge_litert.interpreter")
    model = litert.Interpreter(model_content=content)
    model.allocate_tensors()
    given, outputs = model.get_input_details()[0]["index"], model.get_output_details()
    outputs.sort(key=lambda output: output["name"])  # Identity, Identity_1, ... as the file has them
    found = []
    for image in images_rgb:
        model.set_tensor(given, image[None] * np.float32((1 - least) / 255) + np.float32(least))
        model.invoke()
        found.append([model.get_tensor(output["index"])[0] for output in outputs])
    stacked = [np.stack(arrays) for arrays in zip(*found, strict=True)]
    return [np.moveaxis(array, -1, 1) if array.ndim == 4 else array for array in stacked]


def runtime_outputs(content: bytes, name: str, images_rgb: np.ndarray) -> list[np.ndarray]:
    """What ONNX Runtime answers, all images in one batch."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {name: images_rgb})


def convert(wheel: Path, videos: list[Path]) -> list[Conversion]:
    """All models. Raises ValueError where the result answers otherwise than the original."""
    made = []
    with zipfile.ZipFile(wheel) as files:
        for source, spec in _SOURCES.items():
            original = files.read(source)
            content = to_onnx(read_tflite(original), spec).SerializeToString()
            images_rgb = squares(videos, spec.side)
            originals = zip(spec.outputs, original_outputs(original, images_rgb, spec.least), strict=True)
            expected = [truth for output, truth in originals if output is not None]
            answers = runtime_outputs(content, spec.input, images_rgb)
            differences = {
                output.name: float(np.abs(answer.reshape(truth.shape) - truth).max())
                for output, answer, truth in zip(kept(spec), answers, expected, strict=True)
            }
            if max(differences.values()) > _LARGEST_DIFFERENCE:
                raise ValueError(f"{spec.name} differs from the original: {differences}")
            made.append(
                Conversion(source=source, original=original, spec=spec, content=content, differences=differences)
            )
    return made


def license_text(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".dist-info/LICENSE"))
        return files.read(name)


def origin(wheel: Path, made: list[Conversion]) -> str:
    lines = [
        "# MediaPipe's hand and pose models as ONNX",
        "",
        "Palm detection (full), hand landmark (full), pose detection and pose landmark (full) by the MediaPipe",
        "authors, Apache-2.0 (`LICENSE`), from",
        f"`{wheel.name}`. `python -m models.tools.convert_mediapipe`",
        "writes these files. The graph is written anew; the weights are the original's, stored in float16 as there and",
        "widened to float32 by a Cast that runtimes fold at load. Each batch axis is free.",
        "",
        "| file | sha256 | of | sha256 |",
        "| --- | --- | --- | --- |",
    ]
    for each in made:
        hashes = (hashlib.sha256(content).hexdigest() for content in (each.content, each.original))
        ours, theirs = hashes
        lines.append(f"| `{each.spec.name}.onnx` | `{ours}` | `{each.source}` | `{theirs}` |")
    lines += [
        "",
        "Largest difference from the original under ONNX Runtime, on frames of recordings:",
        "",
    ]
    for each in made:
        said = ", ".join(f"{name} {value:.1g}" for name, value in each.differences.items())
        lines.append(f"- `{each.spec.name}`: {said}.")
    return "\n".join([*lines, "", *_LAYOUT.splitlines(), ""])


_LAYOUT = """\
## Inputs and outputs
`palm_detection`: `images_rgb` (views, 192, 192, 3) uint8 to `boxes` (views, 2016, 18), pixels from the anchor (centre,
width and height, then seven points), and `scores` (views, 2016), before the sigmoid.

`hand_landmark`: `crops_rgb` (hands, 224, 224, 3) uint8 to `landmarks` (hands, 21, 3), x and y in pixels of the crop
with its corner at zero and z in the same scale, `presence` and `handedness` (hands,), probabilities, and
`world_landmarks` (hands, 21, 3), metres. `handedness` is 1 for a hand that looks like a right hand in a mirrored image
(a selfie): in an image that is not mirrored that is the person's left hand.

`pose_detection`: `images_rgb` (views, 224, 224, 3) uint8, of which the graph makes numbers from -1 to 1, to `boxes`
(views, 2254, 12), pixels from the anchor (centre, width and height, then four points: the middle of the hips, one on
the circle around the body, and likewise for the upper body), and `scores` (views, 2254), before the sigmoid. Two thirds
of its weights are zeros that the original leaves out.

`pose_landmark`: `crops_rgb` (bodies, 256, 256, 3) uint8 to `landmarks` (bodies, 39, 5), x, y and z in pixels of the
crop as above, then visibility and presence before the sigmoid: 33 points of the body, two that say where the body is
in the next image, and four more; `presence` (bodies,), a probability; `heatmaps` (bodies, 39, 64, 64), before the
sigmoid, by which MediaPipe's graph refines the landmarks; and `world_landmarks` (bodies, 39, 3), metres from the
middle of the hips. The mask of the body, the original's third output, is left out.

## Weights of hand_landmark
Initializers by name: `conv_00` to `conv_46` in order of execution, each with `.weight` (out, in / groups, height,
width) and `.bias` (out,), normalisation folded in; then `landmarks`, `presence`, `handedness` and `world_landmarks`,
each with `.weight` (out, 1152) and `.bias`; all in float16. The network has EfficientNet-lite0's shape: a stem of 3 x 3
with stride 2, then blocks of a 1 x 1 convolution that widens (not in the first block), a depthwise one, and a 1 x 1
one that narrows, with a sum where the shape stays; relu6 after all but those that narrow. The last block ends at its
depthwise convolution, whose 1152 channels are averaged over 7 x 7 places and read by the heads. Padding is
TensorFlow's SAME: with stride 2, what does not divide by two goes right and below (for 3 x 3 nothing before and one
after, for 5 x 5 one before and two after). Bytes are divided by 255.
"""


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit("usage: python -m models.tools.convert_mediapipe WHEEL VIDEO [VIDEO ...]")
    wheel, videos = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    made = convert(wheel, videos)
    FOLDER.mkdir(exist_ok=True)
    for each in made:
        write_atomic(FOLDER / f"{each.spec.name}.onnx", each.content)
    write_atomic(FOLDER / "LICENSE", license_text(wheel))
    write_atomic(FOLDER / "ORIGIN.md", origin(wheel, made).encode())


if __name__ == "__main__":
    main()

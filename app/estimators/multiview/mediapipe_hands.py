"""MediaPipe's hand models as a Detector: palms searched in the whole image, landmarks read from a crop per hand.

The geometry of the crops is that of MediaPipe's own graphs (mediapipe/modules/hand_landmark, Apache-2.0:
`palm_detection_detection_to_roi.pbtxt`, `hand_landmark_landmarks_to_roi.pbtxt`). The crop is cut here rather than in
the graph, so that only the crop is copied and colour-converted.
"""

import importlib
import importlib.util
import os
import queue
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.estimators.detection import Detection, Region, hand_size_px, merge_duplicates
from calibration.errors import UserError
from calibration.frames import Frame

INSTALL = 'pip install "usthand-live[mediapipe]"'
_CROP = 224
_PALM_LANDMARKS = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]
# Disagreement between views as a share of the hand's size in the image, measured on real footage.
_STD_OF_SIZE = 0.036
_MIN_STD_PX = 1.0
_MAX_PALMS = 4
# What MediaPipe's libraries write on every start, past any log level that can be set.
_CHATTER = (b"INFO: Created TensorFlow Lite", b"before absl::InitializeLog()", b"inference_feedback_manager.cc")
_STARTING = threading.Lock()

_LANDMARK_GRAPH = """
input_stream: "image"
output_stream: "landmarks"
output_stream: "presence"
output_stream: "right"
node {
  calculator: "ImageToTensorCalculator"
  input_stream: "IMAGE:image"
  output_stream: "TENSORS:tensor"
  options { [mediapipe.ImageToTensorCalculatorOptions.ext] {
    output_tensor_width: 224 output_tensor_height: 224 keep_aspect_ratio: false
    output_tensor_float_range { min: 0.0 max: 1.0 } } }
}
node {
  calculator: "InferenceCalculatorCpu"
  input_stream: "TENSORS:tensor"
  output_stream: "TENSORS:outputs"
  options { [mediapipe.InferenceCalculatorOptions.ext] {
    model_path: "mediapipe/modules/hand_landmark/hand_landmark_full.tflite"
    delegate { xnnpack { num_threads: 1 } } } }
}
node {
  calculator: "SplitTensorVectorCalculator"
  input_stream: "outputs"
  output_stream: "landmark_tensor" output_stream: "presence_tensor" output_stream: "right_tensor"
  options { [mediapipe.SplitVectorCalculatorOptions.ext] {
    ranges { begin: 0 end: 1 } ranges { begin: 1 end: 2 } ranges { begin: 2 end: 3 } } }
}
node {
  calculator: "TensorsToFloatsCalculator"
  input_stream: "TENSORS:landmark_tensor"
  output_stream: "FLOATS:landmarks"
}
node { calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:presence_tensor" output_stream: "FLOAT:presence" }
node { calculator: "TensorsToFloatsCalculator" input_stream: "TENSORS:right_tensor" output_stream: "FLOAT:right" }
"""
_PALM_GRAPH = """
input_stream: "image"
output_stream: "palms"
node { calculator: "PalmDetectionCpu" input_stream: "IMAGE:image" output_stream: "DETECTIONS:palms" }
"""


@dataclass(frozen=True)
class CropSquare:
    """A square crop of an image: centre (2,) and side in pixels, `angle` in radians turns crop axes to image axes."""

    centre_px: np.ndarray
    side_px: float
    angle: float

    @property
    def image_from_crop(self) -> np.ndarray:
        """2x3 affine map from crop pixels to image pixels."""
        scale = self.side_px / _CROP
        turn = scale * np.array([[np.cos(self.angle), -np.sin(self.angle)], [np.sin(self.angle), np.cos(self.angle)]])
        return np.column_stack([turn, self.centre_px - turn @ np.full(2, _CROP / 2)])


def square_from_keypoints(keypoints_px: np.ndarray) -> CropSquare:
    """The crop that MediaPipe's tracker takes around keypoints (21, 2): wrist to middle knuckle points up."""
    towards = (keypoints_px[5] + keypoints_px[13] + 2 * keypoints_px[9]) / 4 - keypoints_px[0]
    angle = float(np.arctan2(towards[1], towards[0]) + np.pi / 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    palm = keypoints_px[_PALM_LANDMARKS] @ turn
    low, high = palm.min(0), palm.max(0)
    centre = turn @ ((low + high) / 2 - [0, 0.1 * (high - low)[1]])
    return CropSquare(centre, 2.0 * float((high - low).max()), angle)


def square_from_palm(box_px: np.ndarray, wrist_px: np.ndarray, middle_px: np.ndarray) -> CropSquare:
    """The crop for a palm detection: `box_px` (left, top, width, height), wrist and middle knuckle (2,)."""
    towards = middle_px - wrist_px
    angle = float(np.arctan2(towards[1], towards[0]) + np.pi / 2)
    up = np.array([np.sin(angle), -np.cos(angle)])
    return CropSquare(box_px[:2] + box_px[2:] / 2 + 0.5 * box_px[3] * up, 2.6 * float(box_px[2:].max()), angle)


def _close(square: CropSquare, other: CropSquare) -> bool:
    """Whether landmarks read from one crop are about as good as from the other."""
    turn = abs((square.angle - other.angle + np.pi) % (2 * np.pi) - np.pi)
    shift = np.linalg.norm(square.centre_px - other.centre_px) / other.side_px
    return bool(turn < 0.35 and shift < 0.1 and 0.8 < square.side_px / other.side_px < 1.25)


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Keep _CHATTER off standard error; whatever else is written meanwhile, by any thread, comes there afterwards."""
    with _STARTING, tempfile.TemporaryFile() as heard:
        stderr = os.dup(2)
        os.dup2(heard.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            heard.seek(0)
            rest = b"".join(line for line in heard if not any(words in line for words in _CHATTER))
            if rest:
                os.write(stderr, rest)
            os.close(stderr)


class _Graph:
    """A MediaPipe graph for one thread at a time."""

    def __init__(self, text: str, readers: dict[str, str]) -> None:
        # Imported by name: neither is visible to a type checker.
        mp: Any = importlib.import_module("mediapipe")
        bindings: Any = importlib.import_module("mediapipe.python._framework_bindings")
        bindings.resource_util.set_resource_dir(str(Path(mp.__file__).parent.parent))
        self._create, self._format = mp.packet_creator.create_image_frame, mp.ImageFormat.SRGB
        self._graph = bindings.calculator_graph.CalculatorGraph(graph_config=text)
        self._result: dict = {}
        for stream, reader in readers.items():
            self._observe(stream, getattr(mp.packet_getter, reader))
        with _quiet_start():
            self._graph.start_run({})
            self._graph.wait_until_idle()
        self._time = 0

    def _observe(self, stream: str, read) -> None:
        def keep(_name, packet) -> None:
            self._result[stream] = None if packet.is_empty() else read(packet)

        self._graph.observe_output_stream(stream, keep)

    def __call__(self, image_rgb: np.ndarray) -> dict:
        self._result.clear()
        self._time += 1
        self._graph.add_packet_to_input_stream(
            "image", self._create(image_rgb, image_format=self._format).at(self._time)
        )
        self._graph.wait_until_idle()
        return self._result

    def close(self) -> None:
        self._graph.close()


class MediaPipeHands:
    """MediaPipe hands on full images and on crops. `presence` is the least score that counts as a hand.

    Raises UserError where mediapipe or its models are not installed.
    """

    name = "mediapipe"

    def __init__(self, presence: float = 0.3) -> None:
        if importlib.util.find_spec("mediapipe") is None:
            raise UserError(f"the estimator `mediapipe` needs MediaPipe, which is not installed. Run: {INSTALL}")
        os.environ.setdefault("GLOG_minloglevel", "2")
        try:
            import mediapipe
        except ImportError as error:
            raise UserError(f"MediaPipe is installed but does not load ({error}). Run: {INSTALL}") from error
        models = Path(mediapipe.__file__).parent / "modules"
        if not (models / "hand_landmark" / "hand_landmark_full.tflite").is_file():
            raise UserError(
                f"MediaPipe {mediapipe.__version__} has no hand models inside; version 0.10.21 has. Run: {INSTALL}"
            )
        self.presence = presence
        self._landmark_graphs: queue.LifoQueue[_Graph] = queue.LifoQueue()
        self._palm_graphs: queue.LifoQueue[_Graph] = queue.LifoQueue()

    def detect(self, frame: Frame, regions: Sequence[Region], search: bool) -> list[Detection]:
        """Hands in the frame, duplicates merged; nothing where the pixels were overwritten meanwhile."""
        if not regions and not search:
            return []
        # Crops are cut first, from the live frame; a search needs all pixels for longer and takes a copy.
        squares = [square_from_keypoints(region.keypoints_px) for region in regions]
        image_bgr = frame.pixels.copy() if search else frame.pixels
        crops = [self._cut(image_bgr, square) for square in squares]
        if not frame.intact():
            return []
        found = [self._landmarks(*pair) for pair in zip(crops, squares, strict=True)]
        if search:
            palms = self._palms(image_bgr)
            if len(palms) < 2:
                palms += self._palms_in_halves(image_bgr)
            squares += palms
            found += [self._landmarks(self._cut(image_bgr, square), square) for square in palms]
        for index, (detection, square) in enumerate(zip(found, squares, strict=True)):
            if detection is None:
                continue
            better = square_from_keypoints(detection.keypoints_px)
            if not _close(square, better):
                crop = self._cut(image_bgr, better)
                if not frame.intact():
                    return []
                found[index] = self._landmarks(crop, better) or detection
        return merge_duplicates([detection for detection in found if detection is not None])

    def _cut(self, image_bgr: np.ndarray, square: CropSquare) -> np.ndarray:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(image_bgr, square.image_from_crop, (_CROP, _CROP), flags=flags)
        return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)

    def _landmarks(self, crop_rgb: np.ndarray, square: CropSquare) -> Detection | None:
        readers = {"landmarks": "get_float_list", "presence": "get_float", "right": "get_float"}
        result = self._run(self._landmark_graphs, _LANDMARK_GRAPH, readers, crop_rgb)
        if not result.get("landmarks") or result["presence"] < self.presence:
            return None
        crop_px = np.array(result["landmarks"]).reshape(21, 3)[:, :2]
        affine = square.image_from_crop
        keypoints_px = crop_px @ affine[:, :2].T + affine[:, 2]
        std_px = max(_STD_OF_SIZE * hand_size_px(keypoints_px), _MIN_STD_PX) * (2 - min(result["presence"], 1.0))
        # The model is trained on selfies: its score for a left hand is ours for the person's right hand.
        return Detection(keypoints_px, np.full(21, std_px), float(result["right"]), float(result["presence"]))

    def _palms_in_halves(self, image_bgr: np.ndarray) -> list[CropSquare]:
        """Palms that are too small or too near the border for the whole image, in two squares that overlap."""
        height, width = image_bgr.shape[:2]
        side = max(height, (width + 1) // 2)
        if width < 1.2 * side:
            return []
        left = self._palms(np.ascontiguousarray(image_bgr[:, :side]))
        right = self._palms(np.ascontiguousarray(image_bgr[:, width - side :]))
        moved = [CropSquare(square.centre_px + [width - side, 0], square.side_px, square.angle) for square in right]
        return left + moved

    def _palms(self, image_bgr: np.ndarray) -> list[CropSquare]:
        image_rgb = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
        palms = self._run(self._palm_graphs, _PALM_GRAPH, {"palms": "get_proto_list"}, image_rgb).get("palms") or []
        size = np.array([image_bgr.shape[1], image_bgr.shape[0]])
        squares = []
        for palm in sorted(palms, key=lambda palm: -palm.score[0])[:_MAX_PALMS]:
            place = palm.location_data
            box = place.relative_bounding_box
            points = np.array([[point.x, point.y] for point in place.relative_keypoints]) * size
            box_px = np.array([box.xmin, box.ymin, box.width, box.height]) * np.tile(size, 2)
            squares.append(square_from_palm(box_px, points[0], points[2]))
        return squares

    @staticmethod
    def _run(graphs: "queue.LifoQueue[_Graph]", text: str, readers: dict[str, str], image_rgb: np.ndarray) -> dict:
        try:
            graph = graphs.get_nowait()
        except queue.Empty:
            graph = _Graph(text, readers)
        result = dict(graph(image_rgb))
        graphs.put(graph)
        return result

    def close(self) -> None:
        for graphs in (self._landmark_graphs, self._palm_graphs):
            while not graphs.empty():
                graphs.get_nowait().close()

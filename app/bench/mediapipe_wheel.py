"""MediaPipe's own wheel as a Detector: what hand detection on this project's engines is measured against.

Runs only in an environment that has mediapipe 0.10.21; the graphs are the wheel's, with one thread for each view.
"""

import importlib
import importlib.util
import os
import queue
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.estimators.detection import Detection, Region, merge_duplicates
from app.estimators.detectors.hand_crop import HandCrop, crop_of_keypoints
from app.estimators.detectors.mediapipe_hands import CROP_PX, HandDetectorSettings, detection_of
from app.estimators.detectors.palms import crops_of_palms
from app.estimators.detectors.ssd import BoxWithPoints
from calibration.errors import UserError
from calibration.frames import Frame

INSTALL = "pip install mediapipe==0.10.21"

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


class WheelHands:
    """MediaPipe hands by the wheel. Raises UserError where it, or its models, are not installed."""

    name = "mediapipe wheel"

    def __init__(self, settings: HandDetectorSettings | None = None) -> None:
        if importlib.util.find_spec("mediapipe") is None:
            raise UserError(f"MediaPipe's wheel is not installed. Run: {INSTALL}")
        os.environ.setdefault("GLOG_minloglevel", "2")
        self.settings = settings or HandDetectorSettings()
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, "detect")
        self._landmark_graphs: queue.LifoQueue[_Graph] = queue.LifoQueue()
        self._palm_graphs: queue.LifoQueue[_Graph] = queue.LifoQueue()

    def detect(
        self, frames: Sequence[Frame], regions: Sequence[Sequence[Region]], searched: Sequence[bool]
    ) -> list[list[Detection]]:
        """See Detector."""
        return list(self._pool.map(self._detect_in_view, frames, regions, searched))

    def _detect_in_view(self, frame: Frame, regions: Sequence[Region], search: bool) -> list[Detection]:
        if not regions and not search:
            return []
        squares = [crop_of_keypoints(region.keypoints_px) for region in regions]
        image_bgr = frame.pixels.copy() if search else frame.pixels
        crops = [square.cut(image_bgr, CROP_PX) for square in squares]
        if not frame.intact():
            return []
        found = [self._detection(*pair) for pair in zip(crops, squares, strict=True)]
        if search:
            palms = self._crops(image_bgr)
            if len(palms) < 2:
                palms += self._crops_in_halves(image_bgr)
            squares += palms
            found += [self._detection(square.cut(image_bgr, CROP_PX), square) for square in palms]
        for index, (detection, square) in enumerate(zip(found, squares, strict=True)):
            if detection is None:
                continue
            better = crop_of_keypoints(detection.keypoints_px)
            if not square.is_near(better):
                crop = better.cut(image_bgr, CROP_PX)
                if not frame.intact():
                    return []
                found[index] = self._detection(crop, better) or detection
        return merge_duplicates([detection for detection in found if detection is not None])

    def _detection(self, crop_bgr: np.ndarray, square: HandCrop) -> Detection | None:
        crop_px, presence, handedness = self.landmarks(crop_bgr)
        return detection_of(self.settings, square.image_from_crop(CROP_PX), crop_px, presence, handedness)

    def landmarks(self, crop_bgr: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Keypoints (21, 2) in the pixels of a crop (224, 224, 3), presence and handedness, as the network says."""
        readers = {"landmarks": "get_float_list", "presence": "get_float", "right": "get_float"}
        crop_rgb = cv2.cvtColor(crop_bgr, cv2.COLOR_BGR2RGB)
        result = self._run(self._landmark_graphs, _LANDMARK_GRAPH, readers, crop_rgb)
        return np.array(result["landmarks"]).reshape(21, 3)[:, :2], result["presence"], result["right"]

    def palms(self, image_bgr: np.ndarray) -> list[BoxWithPoints]:
        """An image's palms in its pixels, the likeliest first."""
        image_rgb = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
        palms = self._run(self._palm_graphs, _PALM_GRAPH, {"palms": "get_proto_list"}, image_rgb).get("palms") or []
        size = np.array([image_bgr.shape[1], image_bgr.shape[0]])
        found = []
        for palm in sorted(palms, key=lambda palm: -palm.score[0]):
            box = palm.location_data.relative_bounding_box
            points = np.array([[point.x, point.y] for point in palm.location_data.relative_keypoints]) * size
            box_px = np.array([box.xmin, box.ymin, box.width, box.height]) * np.tile(size, 2)
            found.append(BoxWithPoints(palm.score[0], box_px, points))
        return found

    def _crops(self, image_bgr: np.ndarray) -> list[HandCrop]:
        return crops_of_palms(self.palms(image_bgr))

    def _crops_in_halves(self, image_bgr: np.ndarray) -> list[HandCrop]:
        height, width = image_bgr.shape[:2]
        side = max(height, (width + 1) // 2)
        if width < 1.2 * side:
            return []
        left = self._crops(np.ascontiguousarray(image_bgr[:, :side]))
        right = self._crops(np.ascontiguousarray(image_bgr[:, width - side :]))
        return left + [HandCrop(crop.centre_px + [width - side, 0], crop.side_px, crop.angle) for crop in right]

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
        self._pool.shutdown()
        for graphs in (self._landmark_graphs, self._palm_graphs):
            while not graphs.empty():
                graphs.get_nowait().close()

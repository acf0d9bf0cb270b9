"""The packaged checkpoint and MediaPipe models, and where a checkpoint is that a user names. Loads no torch."""

from pathlib import Path

SHIPPED = "shipped"
_PACKAGED = Path(__file__).resolve().parent / "live.safetensors"
_MEDIAPIPE = Path(__file__).resolve().parent / "mediapipe"


def checkpoint_path(name: str | Path) -> Path:
    """The file of a checkpoint: `shipped` is the one in the package, anything else a path."""
    return _PACKAGED if str(name) == SHIPPED else Path(name)


def mediapipe_model(name: str) -> Path:
    """The ONNX file of one of MediaPipe's models: `palm_detection`, `hand_landmark`, `pose_detection` or
    `pose_landmark`; see ORIGIN.md beside it."""
    return _MEDIAPIPE / f"{name}.onnx"

"""Every kind of file that a user may hand over: how a whole one is made, and what reads it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from app.transport.keys import Keys, make_keys
from calibration.board.board import Board, read_board, write_board
from calibration.board.views import BoardView
from calibration.formats import WRITTEN, detect_format, read_any
from calibration.formats import write_any as write_rig_of
from calibration.hand import JOINTS
from calibration.importers import read_recording
from calibration.rig import read_rig, read_rig_lenses, read_uncalibrated_rig, write_rig
from calibration.session import read_frames_csv, read_session, write_session
from calibration.wizard.journal import Journal, read_journal
from calibration.wizard.wizard import Capture
from models.data.crop_cache import read_manifest as read_cache_manifest
from models.files.labels import Labels, read_labels, write_labels
from models.files.truth import HandTruth, Truth, read_truth, write_truth
from models.hand.restricted_pickle import read_pickle
from models.simulation.simulated_rig import ring_rig
from models.training.config import read_train_config
from tests.fuzz.large_files import MAKERS

FOREIGN = Path(__file__).parent.parent / "data" / "formats"
_BOARD = Board(type="charuco", columns=7, rows=5, square_m=0.03, marker_m=0.022, dictionary="DICT_4X4_50")
_LENS = """!!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [600., 0., 320., 0., 600., 240., 0., 0., 1.]
"""
_OTHERS = {
    "intri.yml": f"%YAML:1.0\n---\nnames:\n   - '1'\nK_1: {_LENS}dist_1: {_LENS}",
    "stereo.yml": f"%YAML:1.0\n---\nK1: {_LENS}K2: {_LENS}R: {_LENS}",
    "left.yaml": """image_width: 640
image_height: 480
camera_name: left
distortion_model: plumb_bob
camera_matrix: {rows: 3, cols: 3, data: [600, 0, 320, 0, 600, 240, 0, 0, 1]}
distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}
""",
    "camera-0.cameramodel": """{'lensmodel': 'LENSMODEL_OPENCV4', 'extrinsics': [0, 0, 0, 0, 0, 0],
'intrinsics': [600, 600, 320, 240, 0, 0, 0, 0], 'imagersize': [640, 480]}
""",
    "calibration.json": """{"value0": {"T_imu_cam": [{"px": 0, "py": 0, "pz": 0, "qx": 0, "qy": 0, "qz": 0, "qw": 1}],
"intrinsics": [{"camera_type": "pinhole", "intrinsics": {"fx": 600, "fy": 600, "cx": 320, "cy": 240}}],
"resolution": [[640, 480]]}}
""",
}


class File(NamedTuple):
    """`make` writes into a folder and returns the file that is to be damaged; `read` reads it, or all of them."""

    make: Callable[[Path], Path]
    read: Callable[[Path], object]


def _rig(folder: Path) -> Path:
    write_rig(folder / "rig.yaml", ring_rig(3, 64, 48))
    return folder / "rig.yaml"


def _board(folder: Path) -> Path:
    write_board(folder / "board.yaml", _BOARD)
    return folder / "board.yaml"


def _session(folder: Path) -> Path:
    rig = ring_rig(2, 64, 48)
    times = {name: np.arange(5) * 33_000_000 + 10**15 for name in rig.camera_ids}
    write_session(folder, rig, {name: f"{name}.mp4" for name in rig.camera_ids}, times, clock="boot", source="a test")
    return folder / "session.yaml"


def _frames_csv(folder: Path) -> Path:
    return _session(folder).with_name("frames.csv")


def _journal(folder: Path) -> Path:
    path = folder / "journal.jsonl"
    corners = np.random.default_rng(0).uniform(0, 40, (8, 2))
    views = {
        name: BoardView(camera_id=name, frame=0, time_ns=1, corner_ids=np.arange(8), corners_px=corners)
        for name in ("a", "b")
    }
    Journal(path, _BOARD, {"a": (64, 48), "b": (64, 48)}).capture(Capture(0, 1, (views,), ("first",)))
    return path


def _labels(folder: Path) -> Path:
    path = folder / "labels.npz"
    arrays = {
        "camera": np.zeros(4, int),
        "time_ns": np.arange(4),
        "right": np.ones(4, bool),
        "keypoints_px": np.zeros((4, JOINTS, 2)),
        "confidence": np.ones((4, JOINTS)),
    }
    write_labels(path, Labels(**arrays, source="a test", definition="detector"), 2)
    return path


def _truth(folder: Path) -> Path:
    hand = HandTruth(
        joints_world_m=np.zeros((4, JOINTS, 3)),
        angles_rad=np.zeros((4, 20)),
        T_world_hand=np.tile(np.eye(4), (4, 1, 1)),
        shape=np.zeros(5),
        visible=np.ones((4, 2, JOINTS), bool),
    )
    write_truth(folder / "truth.npz", Truth(np.arange(4), {"left": hand}))
    return folder / "truth.npz"


def _keys(folder: Path) -> Path:
    make_keys(folder)
    return folder / "worker.key_secret"


def _train(folder: Path) -> Path:
    (folder / "run.yaml").write_text("output: runs/mine\ndata:\n  train: [a]\nnetwork: {recipe: tiny}\nsteps: 10\n")
    return folder / "run.yaml"


def _manifest(folder: Path) -> Path:
    (folder / "manifest.json").write_text(
        '{"size_px": 64, "views": 4, "margin": 1.25, "truth": false, "source": "simulated", "settings": {},'
        ' "version": 1}'
    )
    return folder / "manifest.json"


def _pickle(folder: Path) -> Path:
    import pickle

    (folder / "mano.pkl").write_bytes(pickle.dumps({"v_template": np.zeros((4, 3)), "f": np.zeros((2, 3), int)}, 2))
    return folder / "mano.pkl"


def _written(name: str) -> File:
    def make(folder: Path) -> Path:
        path = folder / {"colmap": "sparse", "opencv": "rig.yml", "kalibr": "chain.yaml"}.get(name, "rig.toml")
        write_rig_of(path, ring_rig(3, 64, 48), name)
        return path if path.is_file() else path / "cameras.txt"

    return File(make, lambda path: read_any(path.parent if name == "colmap" else path, name))


def _copied(source: Path) -> File:
    def make(folder: Path) -> Path:
        return Path(shutil.copy(source, folder / source.name))

    return File(make, read_any)


def _other(name: str) -> File:
    def make(folder: Path) -> Path:
        (folder / name).write_text(_OTHERS[name])
        return folder / name

    return File(make, lambda path: read_any(path, detect_format(path), unit_mm=1, image_size=(640, 480)))


FILES: dict[str, File] = {
    "rig": File(_rig, read_rig),
    "uncalibrated rig": File(_rig, read_uncalibrated_rig),
    "lenses of a rig": File(_rig, read_rig_lenses),
    "board": File(_board, read_board),
    "session": File(_session, lambda path: read_session(path.parent)),
    "frames.csv": File(_frames_csv, read_frames_csv),
    "journal": File(_journal, read_journal),
    "labels": File(_labels, lambda path: read_labels(path, 2)),
    "truth": File(_truth, lambda path: read_truth(path, 2)),
    "keys": File(_keys, lambda path: Keys(path.parent)),
    "training": File(_train, read_train_config),
    "crop cache": File(_manifest, lambda path: read_cache_manifest(path.parent)),
    "MANO": File(_pickle, read_pickle),
    "recording": File(_frames_csv, lambda path: read_recording(path.parent)),
    **{f"rig of {name}": _written(name) for name in WRITTEN if name != "usthand"},
    **{f"rig in {name}": _other(name) for name in _OTHERS},
    "rig of aniposelib": _copied(FOREIGN / "aniposelib.toml"),
    **{name: File(*pair) for name, pair in MAKERS.items()},
}

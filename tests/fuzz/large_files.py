"""More kinds of files: those that hold arrays, pictures and networks. See tests/fuzz/files.py."""

import io
import json
from pathlib import Path

import cv2
import numpy as np

from app.convert.reading import read_recording as read_poses
from app.labelling.openpose import OpenPoseFolder
from app.run.pose_rows import HAND_ROW, SET_ROW, finish_poses, part_of
from app.sources.source import SourceError
from app.sources.video_frames import VideoFrames
from calibration.errors import UserError
from calibration.frames import Frame
from calibration.published_sets import SET_COLUMNS, read_published_sets
from calibration.session import check_session, read_session, write_session
from calibration.video import count_frames, video_properties
from deploy.artefact.manifest import read_manifest as read_engine_manifest
from deploy.image_engines import load_image_network
from models.data.crop_cache import CacheManifest, Shard, read_cache, write_manifest, write_shard
from models.files.npzfile import read_npz
from models.simulation.simulated_rig import ring_rig
from tests.support.dot_networks import SIDE, write_network
from tests.support.openpose_files import write_openpose
from tests.support.pose_files import write_pose_file

WIDTH, HEIGHT, FRAMES = 64, 48, 12
_MOST_READ = 100_000
"""Of frames: a reader that finds more in a file of some kilobytes goes on for ever."""


def video(path: Path, frames: int = FRAMES) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (WIDTH, HEIGHT))
    for number in range(frames):
        writer.write(np.full((HEIGHT, WIDTH, 3), 20 * number % 256, np.uint8))
    writer.release()
    return path


def session(folder: Path) -> Path:
    rig = ring_rig(2, WIDTH, HEIGHT)
    for name in rig.camera_ids:
        video(folder / f"{name}.mp4")
    times = {name: np.arange(FRAMES) * 33_000_000 + 10**15 for name in rig.camera_ids}
    write_session(folder, rig, {name: f"{name}.mp4" for name in rig.camera_ids}, times, clock="boot", source="a test")
    return folder / "cam_0.mp4"


def read_video(path: Path) -> None:
    """As a camera that is a file, and as a session's video."""
    width, height, _ = video_properties(path)
    count_frames(path)
    try:
        frames = VideoFrames(path, FRAMES)
    except SourceError as error:
        raise UserError(str(error)) from None
    try:
        image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        for _ in range(_MOST_READ):
            if frames.grab() is None:
                return
            if (width, height) == (WIDTH, HEIGHT):
                frames.retrieve(image)
        raise AssertionError("frames without end")
    finally:
        frames.close()


def checkpoint(folder: Path) -> Path:
    import torch

    from models.network.checkpoint import CheckpointInfo, save_checkpoint
    from models.network.config import recipe
    from models.network.ust_hand import UstHand

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = recipe("tiny")
    save_checkpoint(folder / "a.safetensors", UstHand(config).state_dict(), CheckpointInfo(config, 1, {"seed": 0}))
    return folder / "a.safetensors"


def read_checkpoint(path: Path) -> None:
    from models.network.checkpoint import load_checkpoint

    load_checkpoint(path)


def network(folder: Path) -> Path:
    return write_network(folder / "dots.onnx", "coordinates")


def poses(folder: Path) -> Path:
    return write_pose_file(folder / "poses.npz")


def _rows(folder: Path, name: str) -> Path:
    part = part_of(folder / "poses.npz")
    part.mkdir()
    (part / "about.json").write_text(json.dumps({"cameras": ["cam_0", "cam_1"], "definition": "anatomical"}))
    (part / "hands").write_bytes(np.ones(6, HAND_ROW).tobytes())
    (part / "sets").write_bytes(np.ones(3, SET_ROW).tobytes())
    return part / name


def read_rows(path: Path) -> None:
    target = path.parent.with_name("poses.npz")
    try:
        finish_poses(target)
    except OSError as error:
        raise UserError(str(error)) from None
    read_npz(target, "poses", "")


def _crops(folder: Path, name: str) -> Path:
    write_manifest(folder, CacheManifest(size_px=8, views=2, truth=True, source="simulated"))
    shard = Shard(
        crops_rgb=np.zeros((4, 8, 8, 3), np.uint8),
        P_crop=np.zeros((4, 3, 4)),
        labels_px=np.zeros((4, 21, 2)),
        label_confidence=np.ones((4, 21)),
        rows=np.arange(4).reshape(2, 2),
        sequence=np.zeros(2),
        time_ns=np.arange(2),
        targets_m=np.zeros((2, 3)),
        joints_m=np.zeros((2, 21, 3)),
        visible=np.ones((4, 21), bool),
    )
    write_shard(folder, 0, shard)
    return folder / "shard_00000" / name


def read_crops(path: Path) -> None:
    _, shards = read_cache(path.parent.parent, truth=True)
    for shard in shards:
        shard.crops_rgb.sum()


def openpose(folder: Path) -> Path:
    session(folder)
    write_openpose(folder / "openpose", read_session(folder))
    return next((folder / "openpose" / "cam_0_json").iterdir())


def read_openpose(path: Path) -> None:
    folder = path.parents[2]
    found = OpenPoseFolder(folder / "openpose", read_session(folder))
    number = int(path.name.split("_")[2])
    frame = Frame(
        camera_id="cam_0",
        sequence=number,
        capture_time_ns=0,
        grab_time_ns=0,
        publish_time_ns=0,
        pixels=np.zeros((HEIGHT, WIDTH, 3), np.uint8),
    )
    found.detect([frame], [[]], [True])


def sets(folder: Path) -> Path:
    rows = [SET_COLUMNS, *([n, name, 10**9 + n] for n in range(4) for name in ("cam_0", "cam_1"))]
    (folder / "sets.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return folder / "sets.csv"


def engine_folder(folder: Path) -> Path:
    from deploy.artefact.manifest import FORMAT, Manifest, stage1_interface, stpt_interface
    from models.network.config import recipe

    config = recipe("tiny")
    manifest = Manifest(
        format=FORMAT,
        network=config,
        stage1=stage1_interface(config),
        stpt=stpt_interface(config),
        sha256={},
        checkpoint_sha256="",
        step=1,
        commit="",
        torch="",
    )
    import msgspec

    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return folder / "manifest.json"


def packed(folder: Path) -> Path:
    buffer = io.BytesIO()
    np.savez(buffer, luma=np.zeros((2, 8, 8), np.uint8), chroma=np.zeros((2, 4, 4, 2), np.uint8), margin=np.array(1.25))
    (folder / "packed.npz").write_bytes(buffer.getvalue())
    return folder / "packed.npz"


def read_packed(path: Path) -> None:
    import torch

    from models.data.packed_crops import PackedCrops

    PackedCrops(path, torch.device("cpu"))


MAKERS = {
    "video": (lambda folder: video(folder / "a.mp4"), read_video),
    "video of a session": (session, lambda path: check_session(path.parent, deep=True)),
    "checkpoint": (checkpoint, read_checkpoint),
    "ONNX, OpenVINO": (network, lambda path: load_image_network(path, (3, SIDE, SIDE), "openvino")),
    "ONNX, ONNX Runtime": (network, lambda path: load_image_network(path, (3, SIDE, SIDE), "onnxruntime")),
    "engine folder": (engine_folder, lambda path: read_engine_manifest(path.parent)),
    "poses": (poses, read_poses),
    "rows of hands": (lambda folder: _rows(folder, "hands"), read_rows),
    "rows of sets": (lambda folder: _rows(folder, "sets"), read_rows),
    "what rows are": (lambda folder: _rows(folder, "about.json"), read_rows),
    "crops": (lambda folder: _crops(folder, "crops_rgb.npy"), read_crops),
    "labels of crops": (lambda folder: _crops(folder, "labels_px.npy"), read_crops),
    "places of crops": (lambda folder: _crops(folder, "rows.npy"), read_crops),
    "truth of crops": (lambda folder: _crops(folder, "truth.npz"), read_crops),
    "packed crops": (packed, read_packed),
    "OpenPose": (openpose, read_openpose),
    "sets.csv": (sets, lambda path: read_published_sets(path.parent)),
}
THREADED = {"ONNX, OpenVINO", "ONNX, ONNX Runtime"}
"""Whose readers start threads."""

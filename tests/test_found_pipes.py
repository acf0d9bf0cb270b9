"""FIFOs that lie where files are found by name: nobody waits for their other end; what needs a file there says so."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.adaptation.work import made_of
from app.cli import main
from app.devices.v4l2 import list_video_devices
from app.run.settings import RunSettings, run_folder
from app.transport.keys import Keys, make_keys
from app.transport.ring import RingReader, SlotRef
from calibration.cached_folder import cached_folder
from calibration.errors import UserError
from calibration.formats import read_found_rig
from calibration.found_files import hash_found, read_found
from calibration.importers import import_recording
from calibration.rig import write_rig
from calibration.session import check_session, write_session
from calibration.video import open_video
from calibration.wizard.journal import read_journal
from calibration.yamlfile import read_yaml
from deploy.artefact.manifest import read_manifest as read_engine_manifest
from models.data.crop_cache import CacheManifest, read_cache, write_manifest
from models.files.npzfile import read_npz
from models.hand.restricted_pickle import read_pickle
from models.network.backbone import _read_state
from models.network.checkpoint import read_tensors
from models.simulation.backgrounds import images_in
from models.simulation.simulated_rig import ring_rig
from tests.calibration.importers.test_importers import freemocap_tree
from tests.support.pipes import does_not_wait, plant_pipe


def test_the_sweep_of_old_run_folders_takes_folders_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "b"
    base.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    monkeypatch.setattr("app.run.settings._LONGEST_BASE", 200)
    kept, prefix = tmp_path / "kept", f"usthand-{os.getuid()}-"
    kept.mkdir()
    (kept / "file").touch()
    left = base / f"{prefix}left"
    left.mkdir()
    pipe, link = plant_pipe(base / f"{prefix}pipe"), base / f"{prefix}link"
    link.symlink_to(kept)
    for path in (left, pipe, kept):
        os.utime(path, (0, 0))
    with does_not_wait(), run_folder(ring_rig(2), RunSettings(estimator="simulated")) as folder:
        assert folder.path.parent == base
    assert sorted(base.iterdir()) == sorted([pipe, link])
    assert (kept / "file").exists()


def test_a_pipe_without_a_writer_is_empty_and_one_with_a_writer_is_read(tmp_path: Path) -> None:
    with does_not_wait():
        assert read_found(plant_pipe(tmp_path / "pipe")) == b""
    read_end, write_end = os.pipe()
    os.write(write_end, b"given by a shell's <(...)")
    os.close(write_end)
    assert read_found(Path(f"/dev/fd/{read_end}")) == b"given by a shell's <(...)"
    os.close(read_end)
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        read_found(tmp_path)


def test_a_hash_is_that_of_the_content_and_of_files_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert hash_found(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()
    with does_not_wait():
        for path in (plant_pipe(tmp_path / "pipe"), tmp_path, Path("/dev/zero")):
            with pytest.raises(OSError, match=str(path)):
                hash_found(path)


def test_a_device_is_not_read() -> None:
    with does_not_wait(), pytest.raises(OSError, match="a device, expected a file: '/dev/zero'"):
        read_found(Path("/dev/zero"))


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_yaml(path, RunSettings),
        lambda path: read_npz(path, "labels", ""),
        read_tensors,
        read_pickle,
        _read_state,
        read_found_rig,
    ],
)
def test_what_is_no_file_is_told_at_once(tmp_path: Path, kind: str, read: Callable[[Path], object]) -> None:
    path = {"device": Path("/dev/zero"), "folder": tmp_path}.get(kind) or plant_pipe(tmp_path / "pipe")
    with does_not_wait(10), pytest.raises(UserError, match=str(path)) as error:
        read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize("command", ["live", "export"])
def test_a_checkpoint_that_is_no_file_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture, kind: str, command: str
) -> None:
    path = Path("/dev/zero") if kind == "device" else plant_pipe(tmp_path / "pipe")
    write_rig(tmp_path / "rig.yaml", ring_rig(2))
    live = ["live", str(tmp_path / "rig.yaml"), "--no-viewer", "--estimator", "ust-hand", "--checkpoint", str(path)]
    with does_not_wait():
        assert main(live if command == "live" else ["export", str(path), str(tmp_path / "engine")]) == 2
    said = capfd.readouterr().err
    assert said.startswith("usthand: ") and str(path) in said and said.count("\n") == 1


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_checkpoint_to_adapt_that_is_no_file_is_told(tmp_path: Path, kind: str) -> None:
    path = {"device": Path("/dev/zero"), "folder": tmp_path}.get(kind) or plant_pipe(tmp_path / "pipe")
    with does_not_wait(), pytest.raises(UserError, match=str(path)):
        made_of([], None, path)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("rig.yaml", lambda path: read_yaml(path, RunSettings)),
        ("journal.jsonl", read_journal),
        ("labels.npz", lambda path: read_npz(path, "labels", "")),
        ("manifest.json", lambda path: read_engine_manifest(path.parent)),
        ("manifest.json", lambda path: read_cache(path.parent)),
        ("last.safetensors", read_tensors),
        ("cam_0.mp4", open_video),
    ],
)
def test_what_needs_a_file_names_it(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    with does_not_wait(), pytest.raises(UserError, match=name):
        read(plant_pipe(tmp_path / name))


@pytest.mark.parametrize("name", ["session.yaml", "rig.yaml", "frames.csv", "cam_1.mp4"])
def test_a_session_names_what_is_no_file(tmp_path: Path, write_video: Callable[..., Path], name: str) -> None:
    videos = {f"cam_{n}": write_video(tmp_path / f"cam_{n}.mp4").name for n in range(2)}
    write_session(tmp_path, ring_rig(2, 64, 48), videos, dict.fromkeys(videos, np.arange(5) * 33_333_333))
    check_session(tmp_path, deep=True)
    plant_pipe(tmp_path / name)
    with does_not_wait(), pytest.raises(UserError, match=name):
        check_session(tmp_path, deep=True)


def test_pipes_beside_a_recording_are_left_out(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    root = freemocap_tree(tmp_path / "recording", write_video)
    (root / "timestamps").mkdir()
    for name in (
        "old_camera_calibration.toml",
        "timestamps/x_timestamps.csv",
        "timestamps/Camera_000.npy",
        "synchronized_videos/a.mp4",
    ):
        plant_pipe(root / name)
    with does_not_wait():
        session = import_recording(root, tmp_path / "session")
    assert len(session.camera_ids) == 3


def test_a_damaged_shard_names_its_pipe(tmp_path: Path) -> None:
    write_manifest(tmp_path, CacheManifest(size_px=160, views=2, truth=True))
    (tmp_path / "shard_00000").mkdir()
    plant_pipe(tmp_path / "shard_00000" / "crops_rgb.npy")
    with does_not_wait(), pytest.raises(UserError, match=r"crops_rgb\.npy is a pipe"):
        read_cache(tmp_path)


def test_a_cache_keeps_its_folders_beside_pipes(tmp_path: Path) -> None:
    made = plant_pipe(tmp_path / f".making-kind-new-{os.getpid()}")
    old = [plant_pipe(tmp_path / f"kind-{number}") for number in range(5)]
    with does_not_wait():
        with pytest.raises(FileExistsError):
            cached_folder(tmp_path, "kind", "new", Path.is_dir, Path.touch)
        made.unlink()
        folder = cached_folder(tmp_path, "kind", "new", Path.is_dir, lambda path: (path / "content").touch())
    assert (folder / "content").exists()
    assert all(path.is_fifo() for path in old)


def test_pictures_and_cameras_are_told_from_pipes(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    plant_pipe(tmp_path / "b.png")
    plant_pipe(tmp_path / "video0")
    with does_not_wait():
        assert images_in(tmp_path) == (tmp_path / "a.png",)
        (device,) = list_video_devices(tmp_path)
    assert device.problem


@pytest.mark.parametrize("name", ["worker.key", "grabber.key_secret"])
def test_a_key_that_is_a_pipe_is_none(tmp_path: Path, name: str) -> None:
    import zmq

    make_keys(tmp_path)
    plant_pipe(tmp_path / name)
    socket = zmq.Context.instance().socket(zmq.PUB)
    with does_not_wait(), pytest.raises(UserError, match=name):
        Keys(tmp_path).join(socket)
    socket.close()


def test_a_frame_that_is_said_to_lie_in_a_pipe_is_none() -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    slot = SlotRef(pid=os.getpid(), fd=read_end, slot=0, ticket=1, height=4, width=4, slots=2)
    with does_not_wait():
        assert RingReader().view(slot) is None
    os.close(read_end)

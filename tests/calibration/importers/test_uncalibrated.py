"""Recordings that are still to be calibrated: what is missing is found elsewhere, or said, and `calibrate` goes on."""

import csv
import json
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest

from app.cli import build_parser, main
from calibration.errors import UserError
from calibration.formats import write_any
from calibration.importers import import_recording
from calibration.importers.recording import FROM_RATE, ForeignRecording
from calibration.rig import Rig, write_rig
from calibration.session import Session, check_session, read_session
from tests.calibration.importers.test_importers import FRAMES, caliscope_tree, freemocap_tree, table_text
from tests.support.calibration_scene import ring_of_cameras
from tests.support.live_run import last_json, usthand

WriteVideo = Callable[..., Path]


def assert_to_be_calibrated(session: Session, ids: tuple[str, ...]) -> None:
    assert not session.calibrated
    assert check_session(session.path, deep=True, calibrated=False).camera_ids == ids
    assert {(camera.camera.width, camera.camera.height) for camera in session.rig.cameras} == {(64, 48)}
    with pytest.raises(UserError, match=r"is not calibrated. Calibrate .* --session .* -o "):
        read_session(session.path)


def test_a_folder_of_videos_alone(tmp_path: Path, write_video: WriteVideo) -> None:
    folder = tmp_path / "films"
    write_video(folder / "left.mp4", fps=25.0)
    write_video(folder / "right.mp4", frames=7, fps=50.0)
    notes: list[str] = []
    session = import_recording(folder, tmp_path / "s", on_note=notes.append)
    assert_to_be_calibrated(session, ("left", "right"))
    assert session.frame_times_ns("left").tolist() == [40_000_000 * frame for frame in range(FRAMES)]
    assert session.frame_times_ns("right").tolist() == [20_000_000 * frame for frame in range(7)]
    assert session.clock == FROM_RATE and FROM_RATE in notes[0]


def test_videos_of_browsers_telephones_and_camcorders(tmp_path: Path) -> None:
    write_uneven_video(tmp_path / "films" / "a.webm", range(30), "libvpx")
    for name in ("b.m4v", "c.MTS", "d.m2ts"):
        write_uneven_video(tmp_path / "films" / name, range(30))
    session = import_recording(tmp_path / "films", tmp_path / "s")
    assert_to_be_calibrated(session, ("a", "b", "c", "d"))
    for name in session.camera_ids:
        assert session.frame_times_ns(name) * 1e-9 == pytest.approx(np.arange(30) / 30, abs=2e-3)


def test_what_ends_otherwise_is_no_video_and_the_endings_are_named(tmp_path: Path) -> None:
    for name in ("a.flv", "b.flv"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"under any names .* ending in \.mp4, .*\.webm.* or \.m2ts\. Give"):
        import_recording(tmp_path, tmp_path / "s")


def write_phone_video(path: Path, clockwise: int) -> Path:
    """A picture of 48 columns and 64 rows that is white at its top left, as a phone stores it that is held so that
    players must turn it."""
    upright = np.zeros((64, 48), np.uint8)
    upright[:16, :16] = 255
    stored = np.ascontiguousarray(np.rot90(upright, clockwise // 90))
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width = stored.shape
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(-clockwise)
        for _ in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, "gray")))
        container.mux(stream.encode())
    return path


def write_uneven_video(path: Path, shown: Sequence[int], codec: Literal["libx264", "libvpx"] = "libx264") -> None:
    """With frames that refer to later ones; `shown`: when each is, in thirtieths of a second."""
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options={"bf": "2"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 30)
        for number in shown:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), number, np.uint8), "gray")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_frames_of_unequal_length_have_the_times_that_the_file_has(tmp_path: Path, write_video: WriteVideo) -> None:
    """As a phone films at 30 frames/s, and at 15 where the light gets low."""
    shown = [*range(30), *range(30, 70, 2)]
    write_video(tmp_path / "films" / "webcam.mp4", frames=40)
    write_uneven_video(tmp_path / "films" / "phone.mp4", shown)
    session = import_recording(tmp_path / "films", tmp_path / "s")
    phone_s, webcam_s = (session.frame_times_ns(name) * 1e-9 for name in ("phone", "webcam"))
    assert phone_s == pytest.approx(np.array(shown) / 30, abs=1e-4)
    assert np.diff(webcam_s) == pytest.approx(np.full(39, webcam_s[1]))


def test_frames_that_a_cut_left_in_the_file_and_players_do_not_show_have_no_times(tmp_path: Path) -> None:
    """As `ffmpeg -ss 0.5 -i IN -c copy OUT` and programs that cut without loss make them, from the key frame before."""
    shown = [*range(30), *range(30, 70, 2)]
    write_uneven_video(tmp_path / "whole.mp4", shown)
    (tmp_path / "films").mkdir()
    for name in ("a.mp4", "b.mov"):
        cut = tmp_path / "films" / name
        with av.open(str(tmp_path / "whole.mp4")) as whole, av.open(str(cut), "w") as container:
            stream, out = whole.streams.video[0], container.add_stream_from_template(whole.streams.video[0])
            for packet in whole.demux(stream):
                if packet.pts is not None and packet.dts is not None and stream.time_base is not None:
                    begin = round(15 / 30 / stream.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts - begin, packet.dts - begin, out
                    container.mux(packet)
    session = import_recording(tmp_path / "films", tmp_path / "s")
    check_session(session.path, deep=True, calibrated=False)
    for name in ("a", "b"):
        assert session.frame_times_ns(name) * 1e-9 == pytest.approx((np.array(shown[15:]) - 15) / 30, abs=1e-4)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_videos_that_cannot_be_decoded_here_are_refused(tmp_path: Path, ending: str) -> None:
    """As of AV1; here of H.264 with nothing in its pictures. In an index there are as many frames as ever."""
    write_uneven_video(tmp_path / "whole.mp4", range(5))
    (tmp_path / "films").mkdir()
    for name in ("a", "b"):
        film = tmp_path / "films" / f"{name}.{ending}"
        with av.open(str(tmp_path / "whole.mp4")) as whole, av.open(str(film), "w") as container:
            out = container.add_stream_from_template(whole.streams.video[0])
            for packet in whole.demux(whole.streams.video[0]):
                if packet.pts is not None:
                    empty = av.Packet(bytes(packet.size))
                    empty.pts, empty.dts, empty.time_base = packet.pts, packet.dts, packet.time_base
                    empty.stream, empty.is_keyframe = out, packet.is_keyframe
                    container.mux(empty)
    with pytest.raises(UserError, match=r"(?i)can be decoded here; it is encoded as `h264`. .* `ffmpeg -i .*\.mkv`"):
        import_recording(tmp_path / "films", tmp_path / "s")
    assert not (tmp_path / "s").exists()


def check_upright(session: Session) -> None:
    for camera in session.rig.cameras:
        assert (camera.camera.width, camera.camera.height) == (48, 64)
        video = session.open_video(camera.camera_id)
        assert video.grab()
        image = video.retrieve()
        video.close()
        assert image is not None
        assert image.shape == (64, 48, 3)
        assert image[2:14, 2:14].min() > 200
        assert image[20:].max() < 50


def test_videos_of_phones_are_turned_as_players_turn_them(tmp_path: Path) -> None:
    turns = {"a": 0, "b": 90, "c": 180, "d": 270}
    for name, clockwise in turns.items():
        write_phone_video(tmp_path / "films" / f"{name}.mp4", clockwise)
    session = import_recording(tmp_path / "films", tmp_path / "s")
    assert {camera.camera_id: camera.turn.rotate for camera in session.rig.cameras} == turns
    check_upright(session)


def test_a_calibration_of_what_players_show_fits_videos_of_phones(tmp_path: Path) -> None:
    """And one of the images as they are stored fits as it is."""
    for name in ("cam_0", "cam_1"):
        write_phone_video(tmp_path / "films" / f"{name}.mp4", 90)
    for size, rotate in (((48, 64), 90), ((64, 48), 0)):
        rig = ring_of_cameras(2)
        cameras = tuple(
            replace(each, camera=replace(each.camera, width=size[0], height=size[1])) for each in rig.cameras
        )
        write_any(tmp_path / "calibration.toml", replace(rig, cameras=cameras))
        session = import_recording(
            tmp_path / "films", tmp_path / f"s{rotate}", calibration=tmp_path / "calibration.toml"
        )
        assert [each.turn.rotate for each in session.rig.cameras] == [rotate] * 2
        if rotate:
            check_upright(session)


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("GX010001.MP4.mp4", "GX020001.MP4.mp4"), ("GX010001.MP4", "GX020001.MP4")),
        (
            (f"{'long' * 9}_camera2.mp4", f"{'long' * 9}_camera1.mp4"),
            ("cam_1", "cam_2"),
        ),
        ((f"{'a' * 40}.mp4", f"{'b' * 40}.mp4"), ("cam_0", "cam_1")),
        (("one.mp4", "one.avi"), ("cam_0", "cam_1")),
    ],
)
def test_videos_name_their_cameras(
    names: tuple[str, ...], ids: tuple[str, ...], tmp_path: Path, write_video: WriteVideo
) -> None:
    for name in names:
        write_video(tmp_path / "v" / name)
    assert_to_be_calibrated(import_recording(tmp_path / "v", tmp_path / "s"), ids)


def test_one_video_is_no_recording(tmp_path: Path, write_video: WriteVideo) -> None:
    write_video(tmp_path / "v" / "only.mp4")
    with pytest.raises(UserError, match=r"no recording in .* layout. Expected the videos of two cameras"):
        import_recording(tmp_path / "v", tmp_path / "s")
    write_video(tmp_path / "c" / "cam_0.mp4")
    with pytest.raises(UserError, match=r"1 videos; a rig has 2 to 16"):
        import_recording(tmp_path / "c", tmp_path / "s")


def caliscope_videos(folder: Path, write_video: WriteVideo) -> Path:
    for number in range(2):
        write_video(folder / f"cam_{number}.mp4", fps=10.0)
    return folder


@pytest.mark.parametrize("sync_index", [False, True])
def test_frames_of_caliscope_go_by_the_rank_of_their_times(
    sync_index: bool, tmp_path: Path, write_video: WriteVideo
) -> None:
    folder = caliscope_videos(tmp_path / "calibration" / "extrinsic", write_video)
    times = {number: [5.0 + 0.1 * frame + 0.01 * number for frame in range(FRAMES)] for number in range(2)}
    rows = [(str(number), f"{time:.3f}") for number, values in times.items() for time in values]
    np.random.default_rng(0).shuffle(rows)
    header, lines = ("sync_index," if sync_index else "") + "cam_id,frame_time", [",".join(row) for row in rows]
    lines = [f"{index},{line}" if sync_index else line for index, line in enumerate(lines)]
    (folder / "timestamps.csv").write_text("\n".join([header, *lines]) + "\n")
    session = import_recording(tmp_path, tmp_path / "s")
    assert_to_be_calibrated(session, ("cam_0", "cam_1"))
    for number, values in times.items():
        assert session.frame_times_ns(f"cam_{number}").tolist() == [round(1e9 * round(time, 3)) for time in values]


def test_caliscope_with_lenses_only(tmp_path: Path, write_video: WriteVideo) -> None:
    root = caliscope_tree(tmp_path / "w", write_video)
    text = (root / "camera_array.toml").read_text()
    lines = [line for line in text.split("\n") if not line.startswith(("rotation", "translation"))]
    (root / "camera_array.toml").write_text("\n".join(lines))
    notes: list[str] = []
    session = import_recording(root, tmp_path / "s", on_note=notes.append)
    assert_to_be_calibrated(session, ("cam_0", "cam_1"))
    assert len(notes) == 1 and "--intrinsics FILE" in notes[0] and str(root / "camera_array.toml") in notes[0]

    # Its result lies with the footage of the board.
    result = root / "calibration" / "extrinsic" / "capture_volume" / "camera_array.toml"
    result.parent.mkdir(parents=True)
    result.write_text(text)
    assert import_recording(root, tmp_path / "s").calibrated
    assert read_session(tmp_path / "s").camera_ids == ("cam_0", "cam_1")


def test_caliscope_without_times_and_without_calibration(tmp_path: Path, write_video: WriteVideo) -> None:
    root = caliscope_tree(tmp_path / "w", write_video)
    (root / "recordings" / "a" / "frame_time_history.csv").unlink()
    notes: list[str] = []
    session = import_recording(root, tmp_path / "s", on_note=notes.append)
    assert session.calibrated and FROM_RATE in notes[0]
    assert session.frame_times_ns("cam_1")[1] == 33_333_333
    (root / "camera_array.toml").unlink()
    session = import_recording(root, tmp_path / "s")
    assert_to_be_calibrated(session, ("cam_0", "cam_1", "cam_2"))
    assert session.source == f"videos recording {root / 'recordings' / 'a'}"


def test_freemocap_without_calibration(tmp_path: Path, write_video: WriteVideo) -> None:
    root = freemocap_tree(tmp_path / "rec", write_video)
    (root / "hands_camera_calibration.toml").unlink()
    session = import_recording(root, tmp_path / "s")
    assert_to_be_calibrated(session, tuple(f"Camera_00{number}_synchronized" for number in range(3)))
    assert session.frame_times_ns(session.camera_ids[2])[-1] == 160_000_000


def pose2sim_trial(root: Path, write_video: WriteVideo) -> Path:
    """A session of Pose2Sim with one trial; the cameras are called as their folders of intrinsics."""
    for number in (1, 2):
        write_video(root / "trial" / "videos" / f"cam{number:02d}.mp4")
        write_video(root / "calibration" / "extrinsics" / f"ext_cam{number:02d}_img" / "board.mp4", frames=3)
    text = "".join(
        table_text(f"int_cam{number:02d}_img", number, 1.0, name=f"int_cam{number:02d}_img", size=[64.0, 48.0],
                   fisheye=False)
        for number in (2, 1)
    )  # fmt: skip
    (root / "calibration" / "Calib_scene.toml").write_text(text + "[metadata]\nadjusted = false\nerror = 0.0\n")
    return root


def test_pose2sim(tmp_path: Path, write_video: WriteVideo) -> None:
    root = pose2sim_trial(tmp_path / "session", write_video)
    session = import_recording(root / "trial", tmp_path / "s")
    assert session.calibrated and session.camera_ids == ("int_cam02_img", "int_cam01_img")
    assert session.video_path("int_cam02_img").resolve().name == "cam02.mp4"
    assert import_recording(root / "trial" / "videos", tmp_path / "s").source == session.source

    (root / "calibration" / "Calib_scene.toml").unlink()
    assert_to_be_calibrated(import_recording(root / "trial", tmp_path / "s"), ("cam01", "cam02"))
    board = import_recording(root, tmp_path / "b")
    assert_to_be_calibrated(board, ("cam01", "cam02"))
    assert board.video_path("cam02").resolve().parent.name == "ext_cam02_img"


def test_a_calibration_of_any_format(tmp_path: Path, write_video: WriteVideo) -> None:
    rig = ring_of_cameras(2)
    size = (rig.cameras[0].camera.width, rig.cameras[0].camera.height)
    for camera in rig.cameras:
        write_video(tmp_path / "v" / f"{camera.camera_id}.mp4", *size)
    write_rig(tmp_path / "rig.yaml", rig)
    session = import_recording(tmp_path / "v", tmp_path / "s", calibration=tmp_path / "rig.yaml")
    assert session.calibrated and session.rig.rig_id == rig.rig_id
    write_rig(tmp_path / "rig.yaml", Rig(ring_of_cameras(3).cameras))
    with pytest.raises(UserError, match=r"2 videos .* for 3 cameras .* one is missing"):
        import_recording(tmp_path / "v", tmp_path / "s", calibration=tmp_path / "rig.yaml")


def test_importing_again_loses_no_calibration(tmp_path: Path, write_video: WriteVideo) -> None:
    for number in range(2):
        write_video(tmp_path / "v" / f"cam_{number}.mp4")
    import_recording(tmp_path / "v", tmp_path / "s")
    small = [replace(each, camera=replace(each.camera, width=64, height=48)) for each in ring_of_cameras(2).cameras]
    write_rig(tmp_path / "s" / "rig.yaml", Rig(tuple(small)))
    calibrated = (tmp_path / "s" / "rig.yaml").read_bytes()
    notes: list[str] = []
    assert import_recording(tmp_path / "v", tmp_path / "s", on_note=notes.append).calibrated
    assert (tmp_path / "s" / "rig.yaml").read_bytes() == calibrated
    assert "rig.yaml: stays, for it is calibrated" in notes[-1]
    assert not list((tmp_path / "s").glob("*.bak-*"))

    # Offsets of cameras are of the times that they were found with.
    def later(recording: ForeignRecording) -> ForeignRecording:
        times_ns = {camera_id: values + 10**9 for camera_id, values in recording.frame_times_ns.items()}
        return replace(recording, frame_times_ns=times_ns)

    session = import_recording(tmp_path / "v", tmp_path / "s", retime=later, on_note=notes.append)
    assert_to_be_calibrated(session, ("cam_0", "cam_1"))
    (backup,) = (tmp_path / "s").glob("rig.yaml.bak-*")
    assert backup.read_bytes() == calibrated and str(backup) in notes[-1]


def test_forced_onto_a_calibrated_session_the_rig_before_is_kept(tmp_path: Path, write_video: WriteVideo) -> None:
    root = caliscope_tree(tmp_path / "w", write_video)
    import_recording(root, tmp_path / "s")
    calibrated = (tmp_path / "s" / "rig.yaml").read_bytes()
    for number in range(2):
        write_video(tmp_path / "v" / f"cam_{number}.mp4")
    import_recording(tmp_path / "v", tmp_path / "s", force=True)
    (backup,) = (tmp_path / "s").glob("rig.yaml.bak-*")
    assert backup.read_bytes() == calibrated


def test_a_session_is_not_imported_onto_itself(tmp_path: Path, write_video: WriteVideo) -> None:
    for number in range(2):
        write_video(tmp_path / "v" / f"cam_{number}.mp4")
    import_recording(tmp_path / "v", tmp_path / "s", copy=True)
    with pytest.raises(UserError, match=r"cam_0.mp4: lies in the session that is to be replaced"):
        import_recording(tmp_path / "s", tmp_path / "s", "videos", force=True)
    check_session(tmp_path / "s", calibrated=False)


@pytest.mark.parametrize(("unit", "factor"), [("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)])
def test_times_in_another_unit_are_named(unit: str, factor: float, tmp_path: Path, write_video: WriteVideo) -> None:
    folder = caliscope_videos(tmp_path / "w", write_video)
    lines = [f"{number},{factor * 0.1 * frame:.0f}" for number in range(2) for frame in range(FRAMES)]
    (folder / "timestamps.csv").write_text("\n".join(["cam_id,frame_time", *lines]) + "\n")
    with pytest.raises(UserError, match=rf"camera `cam_0` span .* s, but .* are 0.4 s.*likely {unit}. Divide") as error:
        import_recording(folder, tmp_path / "s")
    assert "timestamps.csv" in str(error.value)
    assert not (tmp_path / "s").exists()
    # A webcam that was slower than its file says is no other unit.
    lines = [f"{number},{0.5 * frame:.1f}" for number in range(2) for frame in range(FRAMES)]
    (folder / "timestamps.csv").write_text("\n".join(["cam_id,frame_time", *lines]) + "\n")
    assert import_recording(folder, tmp_path / "s").frame_times_ns("cam_0")[-1] == 2_000_000_000


def test_times_of_frames_that_came_in_bursts_are_in_no_other_unit(tmp_path: Path, write_video: WriteVideo) -> None:
    folder = caliscope_videos(tmp_path / "w", write_video)
    seconds = [0.1 * (frame // 3 * 3 + 2) + 1e-4 * (frame % 3) for frame in range(FRAMES)]
    lines = [f"{number},{each:.4f}" for number in range(2) for each in seconds]
    (folder / "timestamps.csv").write_text("\n".join(["cam_id,frame_time", *lines]) + "\n")
    assert import_recording(folder, tmp_path / "s").frame_times_ns("cam_0")[-1] == round(seconds[-1] * 1e9)


def test_the_command_says_what_to_do_next(
    tmp_path: Path, write_video: WriteVideo, capsys: pytest.CaptureFixture
) -> None:
    """Where `replay` looks for the rig, in a line that a shell takes as it is, whatever the folder is called."""
    caliscope_videos(tmp_path / "v", write_video)
    session = tmp_path / "Aufnahmen Übung"
    assert main(["import", str(tmp_path / "v"), str(session), "--json"]) == 0
    said = capsys.readouterr().out
    assert f"from videos recording {tmp_path / 'v'}" in said
    assert f"Times of the frames: none recorded; {FROM_RATE}" in said
    (hint,) = [line for line in said.splitlines() if line.startswith("Calibrate it with: ")]
    args = build_parser().parse_args(shlex.split(hint.partition(": usthand ")[2]))
    assert (args.session, args.output, args.world_frame) == (session, session / "rig.yaml", "fit")
    with pytest.raises(UserError) as refused:
        read_session(session)
    hint = str(refused.value).partition("`usthand ")[2].partition("`")[0]
    args = build_parser().parse_args(shlex.split(hint))
    assert (args.session, args.output) == (session, session / "rig.yaml")
    summary = json.loads(said.splitlines()[-1])
    assert (summary["calibrated"], summary["times"], summary["fps"]) == (False, FROM_RATE, 10.0)


def test_a_session_needs_no_import(tmp_path: Path, write_video: WriteVideo) -> None:
    """As bare videos it would lose the times of its frames and its rig."""
    caliscope_videos(tmp_path / "v", write_video)
    session = import_recording(tmp_path / "v", tmp_path / "s").path
    other = tmp_path / "my rig.yaml"
    with pytest.raises(UserError, match="is a session already") as refused:
        import_recording(session, tmp_path / "t", calibration=other)
    assert f"usthand replay {session}" in str(refused.value)
    replacing = str(refused.value).partition("With another rig: `usthand ")[2].partition("`")[0]
    args = build_parser().parse_args(shlex.split(replacing))
    assert (args.rig, args.out) == (other, session / "rig.yaml")
    assert not (tmp_path / "t").exists()
    assert import_recording(session, tmp_path / "t", "videos").clock == FROM_RATE


@pytest.mark.slow
def test_videos_alone_become_a_calibration(calibration_cases_dir: Path, tmp_path: Path) -> None:
    """Four rendered cameras that started up to 56 ms apart, given without their times: the fit finds when they did."""
    case = calibration_cases_dir / "01_not_converged" / "off_centre"
    (tmp_path / "v").mkdir()
    for video in case.glob("*.mp4"):
        shutil.copy(video, tmp_path / "v")
    import_recording(tmp_path / "v", tmp_path / "s")
    done = usthand(
        "calibrate", "--session", tmp_path / "s", "--board", case / "board.yaml", "-o", tmp_path / "rig.yaml", "--json"
    )
    assert done.returncode == 0, done.stderr
    summary = last_json(done.stdout)
    assert summary["verdict"] == "good"
    assert any(FROM_RATE in warning for warning in summary["warnings"])
    with (case / "frames.csv").open() as file:
        first_ms = {row["camera"]: int(row["time_ns"]) / 1e6 for row in csv.DictReader(file) if row["frame"] == "0"}
    mean_ms = sum(first_ms.values()) / len(first_ms)
    for camera_id, start_ms in first_ms.items():
        assert summary["cameras"][camera_id]["time_offset_ms"] == pytest.approx(mean_ms - start_ms, abs=0.5)

"""`usthand calibrate`: from recorded videos to a rig that beats the published one, and refusals that say what to do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from app.commands.calibrate_session import _given_intrinsics, _times_notes, how_to_use, parse_distances, parse_moment
from calibration.board.board import Board, write_board
from calibration.camera_source import OpenCvSource
from calibration.errors import UserError
from calibration.importers import import_recording
from calibration.importers.recording import FROM_RATE
from calibration.rig import Rig, read_rig, write_rig
from calibration.rig_backup import replace_rig
from calibration.session import Session, read_session, write_session
from tests.support.calibration_scene import ring_of_cameras
from tests.support.live_run import last_json, usthand

REAL_BOARD = Board(
    type="charuco", columns=4, rows=5, square_m=0.054, dictionary="DICT_4X4_1000", marker_m=0.0405, inverted=True
)
# Of the published calibration, in metres.
PUBLISHED_M = {
    "cam_0-cam_1": 1.132,
    "cam_0-cam_2": 0.550,
    "cam_0-cam_3": 0.426,
    "cam_1-cam_2": 0.918,
    "cam_1-cam_3": 1.433,
    "cam_2-cam_3": 0.626,
}


@pytest.fixture(scope="session")
def real_session(real_rig_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real recording as a session, with its board.yaml."""
    path = tmp_path_factory.mktemp("real") / "session"
    import_recording(real_rig_dir, path)
    write_board(path / "board.yaml", REAL_BOARD)
    return path


@pytest.mark.parametrize("clock", [FROM_RATE, "counted from the frame rate of the videos, all of which begin at 0", ""])
def test_that_an_import_found_no_times_is_said_of_one_of_before_too(tmp_path: Path, clock: str) -> None:
    rig = ring_of_cameras(2)
    videos, times = {name: f"{name}.mp4" for name in rig.camera_ids}, dict.fromkeys(rig.camera_ids, np.arange(3))
    notes = _times_notes(write_session(tmp_path / "s", rig, videos, times, clock=clock))
    assert notes == [f"no times of the frames were recorded: they are {clock}"] * bool(clock)


@pytest.fixture(scope="session")
def calibrated(real_session: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """The folder and the summary of a calibration of the real recording; its rig.yaml names devices beforehand."""
    folder = tmp_path_factory.mktemp("calibrated")
    rig = read_rig(real_session / "rig.yaml")
    write_rig(folder / "rig.yaml", _with_devices(rig))
    done = usthand(
        "calibrate", "--session", real_session, "--board", real_session / "board.yaml",
        "-o", folder / "rig.yaml", "--report", folder / "report.html", "--json",
        "--distance", "cam_0-cam_2=0.545",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, last_json(done.stdout)


def _with_devices(rig: Rig) -> Rig:
    cameras = tuple(
        replace(camera, source=OpenCvSource(device=f"/dev/video{index}", fourcc="MJPG"))
        for index, camera in enumerate(rig.cameras)
    )
    return replace(rig, cameras=cameras)


@pytest.fixture
def blank_session(tmp_path: Path, write_video) -> Session:
    """Two cameras that see no board."""
    path = tmp_path / "blank"
    rig = ring_of_cameras(2)
    for camera_id in rig.camera_ids:
        write_video(path / f"{camera_id}.mp4", 1280, 720, 4)
    times = dict.fromkeys(rig.camera_ids, np.arange(4) * 100_000_000)
    return write_session(path, rig, {name: f"{name}.mp4" for name in rig.camera_ids}, times)


def refused(*arguments: object) -> str:
    """Standard error of a command that must end with code 2, one message and no traceback."""
    done = usthand("calibrate", *map(str, arguments))
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.slow
class TestRealRig:
    def test_the_summary_keeps_its_contract(self, calibrated):
        folder, summary = calibrated
        assert set(summary["cameras"]) == {"cam_0", "cam_1", "cam_2", "cam_3"}
        for camera in summary["cameras"].values():
            assert {"intrinsic_rmse_px", "rmse_px", "heldout_rmse_px", "frames"} <= set(camera)
            stds = camera["parameter_std"]
            assert {"rotation_x_rad", "position_z_m", "fx_px", "cy_px", "k1", "p2", "time_offset_ms"} <= set(stds)
            assert (stds["fx_px"] + stds["fy_px"]) / 2 == pytest.approx(camera["focal_std_px"], rel=0.01)
        assert set(summary["distances_m"]) == set(PUBLISHED_M)
        assert summary["verdict"] in ("good", "usable", "poor")
        assert summary["rig"] == str(folder / "rig.yaml")
        assert summary["report"] == str(folder / "report.html")
        assert summary["seconds"] > 0

    def test_it_beats_the_published_calibration(self, calibrated):
        _, summary = calibrated
        assert summary["heldout_rmse_px"] < 0.70
        assert summary["heldout_trim_rmse_px"] < 0.60
        assert summary["heldout_median_px"] < 0.45
        assert summary["rigidity_mm_rms"] < 0.30
        assert summary["loo_px"] < 0.70

    def test_camera_distances_agree_with_the_published_ones(self, calibrated):
        _, summary = calibrated
        for pair, published_m in PUBLISHED_M.items():
            assert summary["distances_m"][pair] == pytest.approx(published_m, rel=0.02), pair

    def test_scale_is_judged_by_the_distance_given(self, calibrated):
        _, summary = calibrated
        expected = 100 * (summary["distances_m"]["cam_0-cam_2"] / 0.545 - 1)
        assert summary["scale_bias_against"] == "known distances"
        assert summary["scale_bias_percent"] == pytest.approx(expected, abs=0.01)

    def test_the_rig_on_disk_is_the_one_reported_and_keeps_its_devices(self, calibrated):
        folder, summary = calibrated
        rig = read_rig(folder / "rig.yaml")
        assert rig.rig_id == summary["rig_id"]
        for index, camera in enumerate(rig.cameras):
            assert camera.source == OpenCvSource(device=f"/dev/video{index}", fourcc="MJPG")
            other = rig.cameras[index - 1]
            pair = "-".join(sorted((camera.camera_id, other.camera_id)))
            distance_m = np.linalg.norm(camera.centre_world_m - other.centre_world_m)
            assert distance_m == pytest.approx(summary["distances_m"][pair], abs=1e-5)
            assert camera.time_offset_ns / 1e6 == pytest.approx(
                summary["cameras"][camera.camera_id]["time_offset_ms"], abs=1e-3
            )

    def test_the_rig_before_is_kept(self, calibrated, real_session):
        _, summary = calibrated
        before = read_rig(Path(summary["rig_before"]))
        assert before.rig_id == read_rig(real_session / "rig.yaml").rig_id

    def test_the_report_has_the_figures(self, calibrated):
        folder, summary = calibrated
        page = (folder / "report.html").read_text()
        assert summary["rig_id"] in page
        assert f"{summary['rigidity_mm_rms']:.2f}<small>mm RMS" in page

    def test_a_second_run_gives_the_same_rig(self, calibrated, real_session, tmp_path):
        _, summary = calibrated
        done = usthand("calibrate", "--session", real_session, "-o", tmp_path / "again.yaml", "--json")
        assert done.returncode == 0, done.stderr
        assert last_json(done.stdout)["rig_id"] == summary["rig_id"]

    def test_an_untouched_rig_has_not_moved_and_a_turned_camera_has(self, calibrated, real_session, tmp_path):
        folder, _ = calibrated
        check = ["calibrate", "--check", real_session, "--json", "-o", tmp_path / "rig.yaml", "--rig"]
        done = usthand(*check, folder / "rig.yaml")
        assert done.returncode == 0, done.stderr
        assert (last_json(done.stdout)["moved"], last_json(done.stdout)["verdict"]) == ([], "in place")
        assert not (tmp_path / "rig.yaml").exists()

        data = yaml.safe_load((folder / "rig.yaml").read_text())
        true = np.array(data["cameras"][2]["T_cam_world"])
        turn = np.eye(4)
        angle = np.radians(2)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        data["cameras"][2]["T_cam_world"] = (turn @ true).tolist()
        (tmp_path / "turned.yaml").write_text(yaml.safe_dump(data))
        done = usthand(*check, tmp_path / "turned.yaml")
        assert done.returncode == 0, done.stderr
        summary = last_json(done.stdout)
        assert (summary["moved"], summary["verdict"]) == (["cam_2"], "moved")
        assert summary["cameras"]["cam_2"]["angle_deg"] == pytest.approx(2, abs=0.1)
        mended = read_rig(tmp_path / "rig.yaml")
        assert np.linalg.norm(mended["cam_2"].T_cam_world[:3, 3] - true[:3, 3]) < 0.003

    def test_an_imported_rig_without_time_offsets_is_not_judged(self, real_session):
        done = usthand("calibrate", "--check", real_session, "--json")
        assert done.returncode == 0, done.stderr
        summary = last_json(done.stdout)
        assert (summary["moved"], summary["verdict"]) == ([], "cannot tell")
        assert "has no time offsets" in done.stdout

    def test_the_world_can_be_fitted(self, real_session, tmp_path):
        """z is the normal of the cameras' plane, towards them; the first camera lies along x."""
        out = tmp_path / "rig.yaml"
        done = usthand("calibrate", "--session", real_session, "--world-frame", "fit", "-o", out)
        assert done.returncode == 0, done.stderr
        centres_m = np.array([camera.centre_world_m for camera in read_rig(out).cameras])
        assert centres_m[:, 2].mean() > 0.3 and abs(centres_m[0, 1]) < 1e-6 and centres_m[0, 0] > 0

    @pytest.mark.parametrize("dictionary", ["DICT_5X5_100", "DICT_4X4_1000"])
    def test_another_board_in_board_yaml_is_named_for_what_it_is(self, dictionary, real_session, tmp_path):
        wrong = Board(
            type="charuco", columns=5, rows=7, square_m=0.054, dictionary=dictionary, marker_m=0.0405, inverted=True
        )
        write_board(tmp_path / "board.yaml", wrong)
        error = refused("--session", real_session, "--board", tmp_path / "board.yaml", "-o", tmp_path / "rig.yaml")
        assert "4 x 5" in error and "DICT_4X4" in error
        assert not (tmp_path / "rig.yaml").exists()


def test_no_board_in_sight_is_refused_and_writes_nothing(blank_session, tmp_path):
    write_board(tmp_path / "board.yaml", REAL_BOARD)
    out = tmp_path / "rig.yaml"
    error = refused("--session", blank_session.path, "--board", tmp_path / "board.yaml", "-o", out)
    assert "no board was seen" in error
    assert not out.exists()


def test_missing_files_are_named(blank_session, tmp_path):
    assert "board.yaml" in refused("--session", blank_session.path)
    missing = tmp_path / "missing.yaml"
    assert str(missing) in refused("--session", blank_session.path, "--board", missing)
    assert "no such directory" in refused("--session", tmp_path / "nowhere", "--board", missing)
    write_board(tmp_path / "board.yaml", REAL_BOARD)
    board = ["--board", tmp_path / "board.yaml"]
    assert "lenses.toml" in refused("--session", blank_session.path, *board, "--intrinsics", tmp_path / "lenses.toml")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "give one of RIG"),
        (["rig.yaml", "--session", "DIR"], "got several"),
        (["--session", "DIR", "--resume", "DIR"], "`--resume` goes with live cameras"),
        (["--check", "DIR", "--lens", "pinhole8"], "`--lens` goes with `--session`"),
        (["--session", "DIR", "--rig", "rig.yaml"], "`--rig` goes with `--check`"),
        (["--check", "DIR", "--report", "a.html"], "`--report` goes with"),
        (["--session", "DIR", "-o", "rig.toml"], "must end in `.yaml`"),
        (["--session", "DIR", "--report", "nowhere/report.html"], "Make it first"),
    ],
)
def test_contradicting_flags_are_refused(arguments, expected):
    assert expected in refused(*arguments)


@pytest.mark.parametrize(("flag", "name"), [("-o", "rig.yaml"), ("--report", "report.html")])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(blank_session, flag, name):
    # Nobody, root neither, can make files there.
    assert "cannot be written" in refused("--session", blank_session.path, flag, f"/proc/{name}")


def test_a_rig_of_other_cameras_is_not_overwritten(blank_session, tmp_path):
    write_board(tmp_path / "board.yaml", REAL_BOARD)
    write_rig(tmp_path / "rig.yaml", ring_of_cameras(3))
    before = (tmp_path / "rig.yaml").read_bytes()
    error = refused("--session", blank_session.path, "--board", tmp_path / "board.yaml", "-o", tmp_path / "rig.yaml")
    assert "cam_2" in error
    assert (tmp_path / "rig.yaml").read_bytes() == before


def test_a_check_needs_the_rigs_cameras(blank_session, tmp_path):
    write_board(tmp_path / "board.yaml", REAL_BOARD)
    write_rig(tmp_path / "rig.yaml", ring_of_cameras(4))
    error = refused("--check", blank_session.path, "--board", tmp_path / "board.yaml", "--rig", tmp_path / "rig.yaml")
    assert "cam_2, cam_3" in error


def test_a_rig_of_another_image_size_is_refused_before_the_videos_are_searched(blank_session, tmp_path):
    write_board(tmp_path / "board.yaml", REAL_BOARD)
    rig = ring_of_cameras(2)
    small = [replace(each, camera=replace(each.camera, width=640, height=480)) for each in rig.cameras]
    write_rig(tmp_path / "rig.yaml", replace(rig, cameras=tuple(small)))
    for mode, flag in (("--check", "--rig"), ("--session", "--intrinsics")):
        error = refused(mode, blank_session.path, "--board", tmp_path / "board.yaml", flag, tmp_path / "rig.yaml")
        assert "640x480" in error and "1280x720" in error and len(error.splitlines()) == 1


def test_a_board_is_found_in_its_folder(blank_session, tmp_path):
    (tmp_path / "board").mkdir()
    assert "board.yaml: no such file" in refused("--session", blank_session.path, "--board", tmp_path / "board")
    write_board(tmp_path / "board" / "board.yaml", REAL_BOARD)
    assert "no board was seen" in refused("--session", blank_session.path, "--board", tmp_path / "board")


def test_distances_are_read_for_ids_with_a_hyphen():
    ids = ("left", "right-1", "right-2")
    assert parse_distances(["right-1-right-2=0.5", "left-right-1=1.25"], ids) == {
        ("right-1", "right-2"): 0.5,
        ("left", "right-1"): 1.25,
    }


@pytest.mark.parametrize(
    "text", ["left-right-1", "left-right-1=-1", "left-left=1", "left-middle=1", "left-right-1=nan"]
)
def test_a_wrong_distance_is_named(text):
    with pytest.raises(UserError, match="--distance"):
        parse_distances([text], ("left", "right-1"))


def test_a_moment_is_a_frame_or_seconds(blank_session):
    assert parse_moment("2", blank_session) == 200_000_000
    assert parse_moment("0.3s", blank_session) == 300_000_000
    for text in ("4", "-1", "noon", "0.4s", "1.5"):
        with pytest.raises(UserError, match="--world-frame"):
            parse_moment(text, blank_session)


def test_what_comes_next_is_said_for_where_the_rig_lies_and_what_it_opens(tmp_path):
    rig, session = ring_of_cameras(2), tmp_path / "my session"
    session.mkdir()
    assert how_to_use(rig, session / "rig.yaml", session).endswith(f"usthand replay '{session}'")
    assert f"cp rig.yaml '{session}/rig.yaml' && usthand replay '{session}'" in how_to_use(
        rig, Path("rig.yaml"), session
    )
    assert how_to_use(_with_devices(rig), Path("my rig.yaml"), session) == "Use it: usthand live 'my rig.yaml'"


def test_a_replaced_rig_is_kept_every_time(tmp_path):
    path = tmp_path / "rig.yaml"
    rigs = [ring_of_cameras(count) for count in (2, 3, 4)]
    backups = [replace_rig(path, rig) for rig in rigs]
    assert backups[0] is None
    assert len(set(backups)) == 3
    assert [read_rig(kept).rig_id for kept in backups[1:] if kept] == [rigs[0].rig_id, rigs[1].rig_id]
    assert read_rig(path).rig_id == rigs[2].rig_id
    assert len(list(tmp_path.iterdir())) == 3


def test_a_symmetric_chessboard_is_refused(calibration_cases_dir):
    """As `usthand board` refuses to draw one."""
    error = refused("--session", calibration_cases_dir / "10_symmetric_chessboard" / "session")
    assert "a chessboard of 9 x 7 squares looks the same when turned by 180 degrees" in error
    assert "--columns 9 --rows 8" in error and "board.yaml" in error


class TestLensesFromElsewhere:
    """Files without unit, poses or a second camera, on the real recording."""

    @pytest.mark.parametrize("name", ["calibration_nounit.toml", "io.toml", "camchain1.yaml"])
    def test_are_taken(self, name, calibration_cases_dir, real_session):
        path = calibration_cases_dir / "08_intrinsics_dead_end" / name
        given = _given_intrinsics(path, read_session(real_session, calibrated=False))
        assert "cam_0" in given and (given["cam_0"].width, given["cam_0"].height) == (1280, 720)

    @pytest.mark.slow
    def test_are_kept_as_they_are(self, calibration_cases_dir, real_session, tmp_path):
        lenses = calibration_cases_dir / "08_intrinsics_dead_end" / "camchain1.yaml"
        out = tmp_path / "rig.yaml"
        done = usthand("calibrate", "--session", real_session, "--intrinsics", lenses, "-o", out)
        assert done.returncode == 0, done.stderr
        rig = read_rig(out)
        assert rig["cam_0"].camera.matrix[[0, 1, 0, 1], [0, 1, 2, 2]].tolist() == [903.5, 907.9, 618.3, 394.2]
        assert rig["cam_1"].camera.focal_px == pytest.approx(760, rel=0.03)

    def test_of_another_image_size_are_refused(self, calibration_cases_dir, real_session):
        lenses = calibration_cases_dir / "08_intrinsics_dead_end" / "p2s229_intrinsics_only.toml"
        error = refused("--session", real_session, "--intrinsics", lenses)
        assert "are for 1920x1080, but its images are 1280x720" in error

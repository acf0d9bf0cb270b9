"""A batch by its parts: keys, resumption, retries, the summary; the engine is this process, the commands are real."""

import errno
import json
import logging
import os
import socket
import zipfile
from collections import deque
from pathlib import Path

import numpy as np
import pytest

from app.batch import engine as engines
from app.batch.batch import Batch, BatchSettings, plan_batch, run_batch
from app.batch.dask_engine import DaskEngine, worker_environment
from app.batch.dry_run import AsIf, dry_run, recorded_hours
from app.batch.jobs import JOBS, Figure
from app.batch.record import BatchTask, TaskAttempts, TaskOutcome, TaskPlace, decode_task, read_outcome
from app.batch.sessions import find_sessions, manifest_of
from app.batch.storage import fetch, store
from app.batch.summary import robust_z, summary_rows, write_summary
from app.batch.task import CORES, command_words, run_task
from app.cli import main
from app.convert.conversion import convert
from calibration.errors import UserError
from tests.support.pose_files import write_pose_file

FRAMES_OF_AN_HOUR = "set,camera,time_ns\n" + "".join(f"{row},cam_0,{row * 10**10}\n" for row in range(361))


class InlineEngine:
    """Does each task where it is asked for; `lose` of the first it says as an engine does whose workers died."""

    def __init__(self, lose: int = 0) -> None:
        self.given: list[str] = []
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._lose = lose

    def submit(self, number: int, data: bytes) -> None:
        self._waiting.append((number, data))
        self.given.append(decode_task(data).name)

    def next_ended(self, seconds: float) -> tuple[int, bytes | str] | None:
        number, data = self._waiting.popleft()
        if self._lose:
            self._lose -= 1
            return number, "KilledWorker: a worker died"
        return number, run_task(data)

    def close(self) -> None: ...


def _plan(out: Path, *sessions: Path, job: str = "convert", to: str = "csv", flags: tuple[str, ...] = ()) -> Batch:
    settings = BatchSettings(out=out, to=to if job == "convert" else "", flags=flags)
    return plan_batch(JOBS[job], find_sessions([str(each) for each in sessions]), settings)  # type: ignore[index]


def _only(batch: Batch) -> TaskOutcome:
    (outcome,) = batch.outcomes.values()
    return outcome


def _result(out: Path, batch: Batch) -> Path:
    return TaskPlace(out, batch.tasks[0].name).result


def test_a_task_is_the_command_and_is_not_done_twice(tmp_path: Path) -> None:
    poses = write_pose_file(tmp_path / "poses.npz")
    convert(poses, tmp_path / "alone.csv")
    out = tmp_path / "out"
    batch = _plan(out, poses)
    first = InlineEngine()
    assert run_batch(batch, out, lambda: first) and len(first.given) == 1
    assert (_result(out, batch) / "hands.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()
    assert _only(batch).printed is not None and _only(batch).read_bytes == poses.stat().st_size
    again = _plan(out, poses)
    run_batch(again, out, lambda: pytest.fail("an engine for nothing to do"))
    assert _only(again).state == "done"


@pytest.mark.parametrize("record", [None, b'{"name": "ta'])
def test_results_whose_record_is_lost_are_made_again_and_kept(record: bytes | None, tmp_path: Path) -> None:
    poses, out = write_pose_file(tmp_path / "poses.npz"), tmp_path / "out"
    batch = _plan(out, poses)
    result = _result(out, batch)
    result.mkdir(parents=True)
    (result / "notes.txt").write_text("by hand")
    if record is not None:
        (result / "task.json").write_bytes(record)
    assert run_batch(batch, out, InlineEngine)
    assert _only(batch).state == "done" and (result / "hands.csv").is_file()
    assert (TaskPlace(out, batch.tasks[0].name).before / "notes.txt").read_text() == "by hand"
    assert not _plan(out, poses).left


def test_words_of_a_command_are_filled_and_those_in_a_path_stay(tmp_path: Path) -> None:
    session, out = tmp_path / "{out} {seed}", tmp_path / "{to}"
    session.mkdir()
    batch = _plan(tmp_path / "batch", write_pose_file(session / "poses.npz"), flags=("--note={out}/{session}",))
    (task,) = batch.tasks
    words = command_words(batch.job, task, task.session, out)
    poses = f"{session}/poses.npz"
    assert words == ["convert", poses, f"{out}/hands.csv", "--json", f"--note={out}/{poses}"]


def test_bad_input_fails_once_with_its_reason(tmp_path: Path) -> None:
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"no poses")
    out = tmp_path / "out"
    batch, engine = _plan(out, bad), InlineEngine()
    run_batch(batch, out, lambda: engine)
    assert len(engine.given) == 1 and _only(batch).by_bad_input and "bad.npz" in _only(batch).reason
    assert "bad.npz" in (TaskPlace(out, batch.tasks[0].name).log).read_text()
    assert not _plan(out, bad).left
    settings = BatchSettings(out=out, to="csv", again=True)
    assert plan_batch(JOBS["convert"], [str(bad)], settings).left
    row = write_summary(batch, out)[0]
    assert row["state"] == "failed" and "bad.npz" in row["reason"]
    assert "bad.npz" in (out / "summary.html").read_text()


def test_a_task_that_its_engine_lost_is_given_again_and_in_the_end_given_up(tmp_path: Path) -> None:
    poses, out = write_pose_file(tmp_path / "poses.npz"), tmp_path / "out"
    batch, engine = _plan(out, poses), InlineEngine(lose=1)
    run_batch(batch, out, lambda: engine)
    assert len(engine.given) == 2 and _only(batch).state == "done"
    other, engine = _plan(tmp_path / "other", poses), InlineEngine(lose=99)
    run_batch(other, tmp_path / "other", lambda: engine)
    assert len(engine.given) == 3 and "KilledWorker" in _only(other).reason and not _only(other).by_bad_input
    assert _plan(tmp_path / "other", poses).left, "what a dead worker left undone is tried again by the next batch"


def test_attempts_without_an_end_count_and_are_told(tmp_path: Path) -> None:
    poses, out = write_pose_file(tmp_path / "poses.npz"), tmp_path / "out"
    batch = _plan(out, poses)
    task = batch.tasks[0]
    place = TaskPlace(out, task.name)
    place.work.mkdir(parents=True)
    TaskAttempts(place.attempts, "an earlier run").begin("elsewhere")
    for count in range(1, 4):
        tried = TaskAttempts(place.attempts, task.run)
        tried.begin(f"machine {count}")
        assert len(tried.lost()) == count and f"machine {count}" in tried.lost()[-1]
    run_batch(batch, out, InlineEngine)
    assert _only(batch).state == "failed" and "3 attempts of 3" in _only(batch).reason
    assert [f"machine {count}" in lost for count, lost in enumerate(_only(batch).lost, 1)] == [True] * 3


def test_the_key_follows_content_flags_and_files_that_flags_name(tmp_path: Path) -> None:
    session = tmp_path / "monday"
    session.mkdir()
    (session / "session.yaml").write_text("a")
    (session / "cam_0.mp4").write_bytes(b"video")

    def name(job: str = "replay", flags: tuple[str, ...] = ()) -> str:
        return _plan(tmp_path / "out", session, job=job, flags=flags).tasks[0].name

    first = name()
    assert first.startswith("monday-") and name() == first and name(job="label") != first
    assert name(flags=("--hands", "4")) != first
    (session / "labels.npz").touch()
    (session / ".hidden").touch()
    assert name() == first, "what other jobs write is no part of it"
    assert (
        name(job="evaluate") != _plan(tmp_path / "out", session, job="evaluate", flags=("--windows", "2")).tasks[0].name
    )
    os.utime(session / "cam_0.mp4", ns=(1, 1))
    changed = name()
    assert changed != first
    (session / "session.yaml").write_text("b")
    os.utime(session / "session.yaml", ns=(1, 1))
    assert name() != changed, "small files count by their content"


def test_sessions_are_found_in_folders_and_named_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "session.yaml").touch()
    (tmp_path / "notes").mkdir()
    found = find_sessions([str(tmp_path), f"file://{tmp_path}/b", str(tmp_path / "a")])
    assert found == [str(tmp_path / "a"), str(tmp_path / "b")]
    with pytest.raises(UserError, match="there is no such session"):
        find_sessions([str(tmp_path / "c")])
    with pytest.raises(UserError, match="is no session"):
        find_sessions([str(tmp_path / "notes")])


def test_a_session_elsewhere_is_listed_and_copied_through_fsspec(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    packed = tmp_path / "lab.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("monday/session.yaml", "name: monday")
        archive.writestr("monday/videos/cam_0.mp4", b"12345")
        archive.writestr("monday/.secret", "no")
        archive.writestr("wednesday/frames.csv", FRAMES_OF_AN_HOUR)
        archive.writestr("tuesday/session.yaml", "name: tuesday")
    url = f"zip://monday::file://{packed}"
    manifest = manifest_of(url, ())
    assert manifest.files == 2 and manifest.size_bytes == len("name: monday") + 5
    fetch(url, tmp_path / "here")
    assert sorted(path.relative_to(tmp_path / "here").as_posix() for path in (tmp_path / "here").rglob("*.*")) == [
        "session.yaml", "videos/cam_0.mp4"]  # fmt: skip
    assert find_sessions([f"zip://::file://{packed}"]) == [f"zip://monday::file://{packed}",
                                                           f"zip://tuesday::file://{packed}"]  # fmt: skip
    assert recorded_hours(f"zip://wednesday::file://{packed}") == 1.0 and recorded_hours(url) is None
    with pytest.raises(UserError, match=r"no such session|cannot be listed"):
        manifest_of(f"zip://friday::file://{packed}", ())


def test_the_robust_z_of_a_normal_sample_is_its_z_and_an_outlier_does_not_hide(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, 4001)
    z = robust_z(values, 1)
    assert np.abs(z - (values - 5.0) / 2.0).max() < 0.35
    assert robust_z(np.array([1.0, 1.1, 0.9, 1.0, 1.05, 50.0]), 1)[-1] > 100
    assert (robust_z(np.array([1.0, 1.1, 0.9, 1.0, 1.05, 50.0]), -1) < 3.5).all()
    assert not robust_z(np.array([2.0, 2.0, 2.0, 2.0, np.nan, 2.0]), 1).any()


def _done(session: str, error_px: float) -> tuple[BatchTask, TaskOutcome]:
    task = BatchTask(name=session, job="replay", session=session, flags=(), out="/", version="", run="", attempts=1,
                     folder="/", size_bytes=10)  # fmt: skip
    printed = {"frame_sets": 10, "sets_with_hand": 9, "reprojection_px_median": error_px}
    return task, TaskOutcome(name=session, job="replay", session=session, state="done", seconds=36.0, printed=printed,
                             written_bytes=2)  # fmt: skip


def test_the_summary_has_failures_first_and_then_what_lies_out(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pairs = [_done(f"s{index}", 1 + 0.01 * index) for index in range(8)] + [_done("<odd>", 9.0), _done("broken", 1.0)]
    batch = Batch(job=JOBS["replay"], tasks=[task for task, _ in pairs])
    batch.outcomes = {outcome.name: outcome for _, outcome in pairs}
    batch.outcomes["broken"].state, batch.outcomes["broken"].reason = "failed", "no video"
    rows = write_summary(batch, tmp_path)
    assert [row["session"] for row in rows[:2]] == ["broken", "<odd>"]
    assert rows[1]["outlier_in"] == "reprojection px" and rows[1]["outlier_z"] > 3.5 > rows[2]["outlier_z"]
    table = parquet.read_table(tmp_path / "summary.parquet").to_pylist()
    assert table[0]["reason"] == "no video" and table[1]["reprojection px"] == 9.0
    assert table[1]["share of sets with a hand"] == pytest.approx(0.9)
    page = (tmp_path / "summary.html").read_text()
    assert "failed: no video" in page and "&lt;odd&gt;" in page and "<odd>" not in page


def test_a_dry_run_tells_from_what_is_done(tmp_path: Path) -> None:
    pairs = [_done(str(tmp_path / f"s{index}"), 1.0) for index in range(4)]
    batch = Batch(job=JOBS["replay"], tasks=[task for task, _ in pairs])
    assert dry_run(batch, 2)["hours"] is None and dry_run(batch, 2)["read_bytes"] == 40
    batch.outcomes = {pairs[0][0].name: pairs[0][1]}
    plan = dry_run(batch, 2)
    assert (plan["tasks"], plan["finished"], plan["read_bytes"], plan["written_bytes"]) == (3, 1, 30, 6)
    assert plan["worker_hours"] == pytest.approx(0.03) and plan["task_seconds"] == 36.0
    (tmp_path / "s0").mkdir()
    (tmp_path / "s0" / "frames.csv").write_text("camera,frame,time_ns\na,0,0\n" + "a,1,36000000000\n")
    # 0.01 h took 36 s: 1 h takes 3600 s.
    plan = dry_run(batch, 100, AsIf(sessions=10_000, hours=1.0))
    assert plan["tasks"] == 10_000 and plan["task_seconds"] == 3600 and plan["hours"] == 100
    assert plan["read_bytes"] == 10_000 * 1000


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, extra in (("distributed", "batch"), ("ray", "ray"), ("submitit", "slurm")):
        monkeypatch.setitem(__import__("sys").modules, name, None)
        with pytest.raises(UserError, match=rf'pip install "usthand-live\[{extra}\]"'):
            engines.library(name, extra)


def test_each_local_worker_has_cores_and_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b,-1")
    assert engines.gpus_here() == 2
    settings = engines.EngineSettings(workers=2, out="/", cores=2, gpus=2)
    environments = [worker_environment(index, settings, [0, 1, 4, 5]) for index in range(2)]
    assert [each[CORES] for each in environments] == ["0,1", "4,5"]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments] == ["GPU-a", "GPU-b"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert engines.gpus_here() == 0
    assert "CUDA_VISIBLE_DEVICES" not in worker_environment(0, engines.EngineSettings(workers=1, out="/"), [3])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--poses", "x.npz"], "the batch gives it itself"),
        (["--overlay", "x.mp4"], "all sessions would write the same file"),
        (["--no-such-flag"], "unrecognized arguments"),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_any_work(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "session.yaml").touch()
    try:
        code = main(["batch", "replay", str(tmp_path), "-o", str(tmp_path / "out"), "--", *flags])
    except SystemExit as error:
        code = error.code
    assert code == 2 and said in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["bla", "tcp://", "10.0.0.5", "http://10.0.0.5:8786", "tcp://10.0.0.5:99999"])
def test_what_is_no_address_of_a_scheduler_is_refused_before_any_work(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "session.yaml").touch()
    assert main(["batch", "replay", str(tmp_path), "-o", str(tmp_path / "out"), "--scheduler", address]) == 2
    assert f"`--scheduler {address}`: is no address" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("scheme", "silent"), [("tcp", False), ("tcp", True), ("tls", False)])
def test_a_scheduler_that_is_not_there_is_told_in_a_line(
    scheme: str, silent: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("app.batch.dask_engine._REACH_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not silent:
            server.close()
        settings = engines.EngineSettings(workers=1, out=str(tmp_path), scheduler=f"{scheme}://127.0.0.1:{port}")
        with pytest.raises(UserError, match=rf"{scheme}://127.0.0.1:{port}`: cannot be reached .*tcp://HOST:8786"):
            DaskEngine(settings)
    assert not capfd.readouterr().err


def _log_as_dask(_: bytes) -> bytes:
    logging.getLogger("distributed.worker").error("Failed to communicate with scheduler during heartbeat.")
    return b"ended"


def test_what_dask_logs_of_its_own_end_is_not_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("app.batch.dask_engine.run_task", _log_as_dask)
    engine = DaskEngine(engines.EngineSettings(workers=1, out=str(tmp_path)))
    engine.submit(0, b"")
    try:
        assert engine.next_ended(60.0) == (0, b"ended")
    finally:
        engine.close()
    _log_as_dask(b"")
    assert not capfd.readouterr().err


@pytest.mark.parametrize("url", ["s3://lab/poses", "file:///lab/poses"])
def test_a_url_is_no_folder_of_a_batch(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "session.yaml").touch()
    with pytest.raises(SystemExit, match="2"):
        main(["batch", "replay", str(tmp_path), "-o", url])
    assert f"{url} is a URL" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["session.yaml"]


def test_results_do_not_go_into_a_session_of_which_they_would_be_a_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = tmp_path / "monday"
    session.mkdir()
    write_pose_file(session / "poses.npz")
    monkeypatch.chdir(session)
    for out in ("out", str(session), "."):
        assert main(["batch", "convert", ".", "-o", out, "--dry-run"]) == 2
        assert f"`-o {out}`: lies in the session {session}" in capsys.readouterr().err
    assert main(["batch", "convert", ".", "-o", "../monday-out", "--dry-run"]) == 0
    assert [path.name for path in session.iterdir()] == ["poses.npz"]


def test_an_ending_that_is_no_format_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    poses = write_pose_file(tmp_path / "poses.npz")
    assert main(["batch", "convert", str(poses), "-o", str(tmp_path / "out"), "--to", "xyz"]) == 2
    said = capsys.readouterr().err
    assert "`--to xyz`: is no format" in said and ".c3d" in said and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("folder", "reason"), [("poses.npz/out", "Not a directory"), ("taken", "Is a directory")])
def test_a_folder_that_cannot_be_written_is_a_mistake_of_the_user(
    folder: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its parent is a file; or in the place of one of its files there is a folder."""
    poses = write_pose_file(tmp_path / "poses.npz")
    (tmp_path / "taken" / ".batch").mkdir(parents=True)
    out = tmp_path / folder
    assert main(["batch", "convert", str(poses), "-o", str(out)]) == 2
    assert f"{out}: cannot be written ({reason}). Give another folder by `-o`." in capsys.readouterr().err


def test_what_is_missing_is_told_truly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["batch"])
    assert "the following arguments are required: JOB, -o/--output" in capsys.readouterr().err
    assert main(["batch", "replay", "-o", str(tmp_path)]) == 2
    assert "no sessions to replay" in capsys.readouterr().err


def test_a_thousand_finished_sessions_begin_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    sessions, out = tmp_path / "sessions", tmp_path / "out"
    for index in range(1000):
        session = sessions / f"{index:04d}"
        session.mkdir(parents=True)
        (session / "session.yaml").write_text(f"name: {index}")
        (session / "rig.yaml").write_text("rig")
    batch = _plan(out, sessions, job="replay")
    for task in batch.tasks:
        place = TaskPlace(out, task.name)
        place.result.mkdir(parents=True)
        _, outcome = _done(task.session, 1.0)
        (place.result / "task.json").write_bytes(json.dumps({**_plain(outcome), "name": task.name}).encode())
    monkeypatch.setattr("app.commands.batch.make_engine", lambda on, settings: pytest.fail("an engine for nothing"))
    assert main(["batch", "replay", str(sessions), "-o", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["done"] == printed["finished_before"] == 1000 and not (out / "tasks").exists()


def _plain(outcome: TaskOutcome) -> dict:
    return {name: getattr(outcome, name) for name in outcome.__struct_fields__}


def test_a_figure_of_a_share_needs_its_whole() -> None:
    figure = Figure(key="a/b", per="a/n", title="share")
    assert figure.of({"a": {"b": 1, "n": 4}}) == 0.25
    assert figure.of({"a": {"b": 1, "n": 0}}) is None and figure.of({"a": []}) is None
    assert Figure(key="a/b", title="").of({"a": [{"b": 3}]}) == 3.0


def test_the_figures_of_a_conversion_are_of_all_its_hands() -> None:
    hands = [{"name": "left_1", "missing": 0, "gaps": 0}, {"name": "right_2", "missing": 80, "gaps": 6}]
    figures = {figure.title: figure.of({"frames": 100, "hands": hands}) for figure in JOBS["convert"].figures}
    assert figures == {"frames": 100.0, "share missing": 0.4, "gaps a hand": 3.0}


def test_a_torn_record_is_no_record(tmp_path: Path) -> None:
    place = TaskPlace(tmp_path, "task")
    place.result.mkdir(parents=True)
    (place.result / "task.json").write_bytes(b'{"name": "ta')
    assert read_outcome(place) is None
    assert summary_rows(Batch(job=JOBS["replay"], tasks=[_done("a", 1)[0]]))[0]["state"] == "waiting"


def test_what_may_pass_is_tried_again_and_results_are_stored_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a file system that fails twice at each file, and one that is full."""
    pytest.importorskip("fsspec")
    from fsspec.implementations.local import LocalFileSystem

    monkeypatch.setattr("app.batch.storage._PAUSE_S", 0.0)
    (tmp_path / "made").mkdir()
    for name in ("task.json", "poses.npz"):
        (tmp_path / "made" / name).write_text(name)
    (tmp_path / "made" / "video.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    calls: list[str] = []
    real = LocalFileSystem.put_file

    def put_file(self: LocalFileSystem, source: str, target: str, **more: object) -> None:
        calls.append(Path(target).name)
        if calls.count(Path(target).name) < 3:
            raise ConnectionError("reset by peer")
        real(self, source, target, **more)

    monkeypatch.setattr(LocalFileSystem, "put_file", put_file)
    store(tmp_path / "made", f"file://{tmp_path}/far/away")
    assert calls == ["poses.npz"] * 3 + ["task.json"] * 3
    assert sorted(path.name for path in (tmp_path / "far" / "away").iterdir()) == ["poses.npz", "task.json"]

    def full(*_: object, **__: object) -> None:
        calls.append("full")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalFileSystem, "put_file", full)
    with pytest.raises(UserError, match="cannot be written"):
        store(tmp_path / "made", f"file://{tmp_path}/far/away")
    assert calls.count("full") == 1

"""Log files: rotated by size, whole lines from several processes, no passwords, and never in the way."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from app.cli import main
from app.run.logs import SHOWN_WHOLE, LogFile, LogLine, WithoutPasswords, log_folder, without_passwords
from app.transport.messages import encode
from calibration.errors import UserError
from tests.conftest import ROOT
from tests.support.live_run import LiveRun, free_port, simulated_rig


def logger_of(path: Path, most_bytes: int = 1_000_000) -> logging.Logger:
    logger = logging.getLogger(str(path))
    logger.addHandler(LogFile(path, most_bytes))
    return logger


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("rtsp://admin:hunter2@10.0.0.7:554/live is lost", "rtsp://***@10.0.0.7:554/live is lost"),
        ("rtsp://admin:p@ss/w:rd@host/live", "rtsp://***@host/live"),
        ("http://token@host/x and tcp://127.0.0.1:5600", "http://***@host/x and tcp://127.0.0.1:5600"),
        ("http://host/mjpg?user=a&password=hunter2&fps=30", "http://host/mjpg?user=a&password=***&fps=30"),
        ("Password: hunter2, then", "Password: ***, then"),
        ("http://host/token=hunter2 of camera.password=hunter2", "http://host/token=*** of camera.password=***"),
        ("/etc/passwd: cannot be read", "/etc/passwd: cannot be read"),
        ("camera.password: hunter2", "camera.password: ***"),
        (
            "/user=a_password=tlJw_channel=1 and ?loginpas=b&pw=c&psw=d",
            "/user=a_password=*** and ?loginpas=***&pw=***&psw=***",
        ),
        ("Authorization: Basic YTpi, auth=x", "Authorization: Basic ***, auth=***"),
        ('{"user": "a", "password": "hunter2", "fps": 30}', '{"user": "a", "password": "***", "fps": 30}'),
        ("{'password': 'hunter2'}", "{'password': '***'}"),
        (".secret: no such file", ".secret: no such file"),
        ("keys/token.json: cannot be read", "keys/token.json: cannot be read"),
        ("camera cam_0: streaming at 30 fps", "camera cam_0: streaming at 30 fps"),
    ],
)
def test_passwords_are_not_written(said: str, written: str, tmp_path: Path) -> None:
    assert without_passwords(said) == written
    logger_of(tmp_path / "a.log").error(said)
    assert (tmp_path / "a.log").read_text() == f"{written}\n"


def test_a_peer_can_neither_write_a_line_nor_steer_the_terminal() -> None:
    line = LogLine("12:00:00 %(name)s %(levelname)s %(message)s")
    said = "no camera \x1b[2J\n12:00:01 worker ERROR gone\x85\u202e"
    record = logging.LogRecord("worker", logging.WARNING, __file__, 1, "%s", (said,), None)
    assert line.format(record).splitlines() == [
        r"12:00:00 worker WARNING no camera \x1b[2J",
        "    12:00:01 worker ERROR gone",
        r"    \u202e",
    ]


def test_a_password_in_a_traceback_is_not_written(tmp_path: Path) -> None:
    try:
        raise OSError("rtsp://admin:hunter2@host is lost")
    except OSError:
        logger_of(tmp_path / "a.log").exception("lost")
    text = (tmp_path / "a.log").read_text()
    assert "Traceback" in text and "hunter2" not in text


def test_a_log_is_rotated_and_three_old_ones_are_kept(tmp_path: Path) -> None:
    logger = logger_of(tmp_path / "a.log", most_bytes=1000)
    for number in range(100):
        logger.error(f"{number:03d} {'x' * 95}")
    files = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(files) == {"a.log", "a.log.1", "a.log.2", "a.log.3"}
    assert all(len(text) <= 1000 for text in files.values())
    lines = "".join(files[name] for name in ("a.log.3", "a.log.2", "a.log.1", "a.log")).splitlines()
    assert [int(line[:3]) for line in lines] == list(range(100 - len(lines), 100))


def test_several_processes_write_whole_lines_and_lose_none(tmp_path: Path) -> None:
    program = (
        "import logging, sys; from pathlib import Path; from app.run.logs import LogFile\n"
        "logger = logging.Logger('test'); logger.addHandler(LogFile(Path(sys.argv[1]), 6000))\n"
        "for number in range(50): logger.error(f'{sys.argv[2]} {number:03d} ' + 'x' * 90)\n"
    )
    path = tmp_path / "a.log"
    running = [subprocess.Popen([sys.executable, "-c", program, path, name], cwd=ROOT) for name in "abc"]
    assert [each.wait(60) for each in running] == [0, 0, 0]
    lines = "".join(each.read_text() for each in tmp_path.iterdir()).splitlines()
    assert {line[:5] for line in lines} == {f"{name} {number:03d}" for name in "abc" for number in range(50)}
    assert len(lines) == 150 and all(len(line) == 96 for line in lines)


@pytest.mark.parametrize("place", ["a file", "a folder", "a link"])
def test_a_log_that_cannot_be_written_stops_nothing(place: str, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    log = tmp_path / "logs" / "a.log"
    if place == "a file":
        (tmp_path / "logs").touch()
    elif place == "a folder":
        log.mkdir(parents=True)
    else:
        (tmp_path / "logs").mkdir()
        log.symlink_to(tmp_path / "other")
    logger_of(log).error("said")
    assert capfd.readouterr().err == "" and not (tmp_path / "other").exists()


def test_where_logs_are_is_as_the_platform_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert log_folder() == tmp_path / "usthand" / "logs"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert log_folder() == tmp_path / ".local" / "state" / "usthand" / "logs"


@pytest.mark.slow
def test_every_process_of_a_run_has_its_log(tmp_path: Path) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2)
    state = {"XDG_STATE_HOME": str(tmp_path)}
    with LiveRun(tmp_path, "live", rig, "--estimator", "simulated", "--no-viewer", env=state) as run:
        run.sets(5)
        run.interrupt()
    logs = {path.name: path.read_text() for path in (tmp_path / "usthand" / "logs").iterdir()}
    assert {"grabber-cam_0.log", "grabber-cam_1.log", "worker.log"} <= set(logs)
    assert "camera cam_1: streaming" in logs["grabber-cam_1.log"] and "worker: ready" in logs["worker.log"]


@pytest.mark.slow
def test_a_cameras_password_is_in_no_message_summary_or_log(tmp_path: Path) -> None:
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=3)
    data = yaml.safe_load(rig.read_text())
    device = f"rtsp://admin:hunter2@127.0.0.1:{free_port()}/live"
    data["cameras"][2]["source"] = {"kind": "opencv", "device": device}
    rig.write_text(yaml.safe_dump(data))
    state = tmp_path / "state"
    arguments = ["--estimator", "simulated", "--no-viewer"]
    with LiveRun(tmp_path, "live", rig, *arguments, env={"XDG_STATE_HOME": str(state)}) as run:
        sets = run.poses(lambda got: any(each.cameras["cam_2"].detail for each in got))
        assert not any(b"hunter2" in encode(each) for each in sets)
        _, summary = run.interrupt()
        assert "127.0.0.1" in run.log.read_text(), "the camera is named"
        assert "hunter2" not in run.log.read_text() + json.dumps(summary)
    logs = [path.read_text() for path in state.rglob("*.log")]
    assert logs and not any("hunter2" in log for log in logs)


def test_a_commands_error_has_no_password(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def fail(_: object) -> int:
        raise UserError("rtsp://admin:hunter2@127.0.0.1/live: does not answer.")

    monkeypatch.setattr("app.cli.run", fail)
    assert main([]) == 2
    assert capsys.readouterr().err == "usthand: rtsp://***@127.0.0.1/live: does not answer.\n"


def test_who_needs_a_token_reads_it_at_the_terminal_and_not_in_the_file(tmp_path: Path) -> None:
    record = logging.LogRecord("web", logging.INFO, __file__, 1, "at %s", ("http://rig/?token=abc",), None)
    vars(record).update(SHOWN_WHOLE)
    assert WithoutPasswords().format(record) == "at http://rig/?token=abc"
    file = LogFile(tmp_path / "web.log")
    file.emit(record)
    assert file.path.read_text() == "at http://rig/?token=***\n"


def test_a_line_is_kept_whose_file_another_process_renames_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.log"
    logger = logger_of(path, most_bytes=100)
    logger.error("a" * 90)
    # what waiting for the lock of a process that has renamed the file, and not yet made the next one, looks like
    monkeypatch.setattr("app.run.logs.fcntl.flock", lambda *_: path.replace(tmp_path / "a.log.1"))
    logger.error("b" * 90)
    assert path.read_text() == "b" * 90 + "\n"
    assert (tmp_path / "a.log.1").read_text() == "a" * 90 + "\n"

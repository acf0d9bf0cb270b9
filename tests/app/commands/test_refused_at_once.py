"""What cannot be shown, published or written is refused before a camera starts or a network is loaded."""

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.bench.soak import soak
from app.cli import main
from app.commands import bench_record, common, demo, latency, live, replay
from calibration import written_files
from tests.support.live_run import simulated_rig
from tests.support.simulated_session import write_simulated_session


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that another program listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield f"tcp://127.0.0.1:{other.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("the run was started")

    for command in (demo, live, replay, bench_record, latency):
        monkeypatch.setattr(command, "run_rig", started)
    monkeypatch.setattr(common, "checkpoint_of", started)
    monkeypatch.setattr(soak, "soak", started)
    monkeypatch.delenv("DISPLAY", raising=False)


@pytest.fixture
def commands(tmp_path: Path, write_video) -> dict[str, list[str]]:
    session = write_simulated_session(tmp_path / "session", write_video).path
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2)
    return {"demo": ["demo"], "live": ["live", str(rig)], "replay": ["replay", str(session)]}


@pytest.mark.parametrize("command", ["demo", "live", "replay"])
def test_a_window_where_there_is_no_screen(command: str, commands, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(commands[command]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "there is no screen to open the viewer on" in said and "--headless" in said


@pytest.mark.parametrize("command", ["live", "replay"])
@pytest.mark.parametrize(
    "flags", [["--poses", "/proc/x/hands.npz"], ["--poses", "/proc/hands.bvh"], ["--headless", "/proc/hands.mp4"]]
)
def test_a_folder_that_cannot_be_written(
    command: str, flags: list[str], commands, capsys: pytest.CaptureFixture[str]
) -> None:
    view = [] if "--headless" in flags else ["--no-viewer"]
    assert main([*commands[command], *view, *flags]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert flags[1] in said


@pytest.mark.parametrize(
    "words",
    [
        ["bench", "soak", "--log", "/proc/x/log"],
        ["bench", "record", "--folder", "/proc/x"],
        ["doctor", "--bundle", "/proc/x.zip"],
    ],
)
def test_so_of_benches_and_of_a_bundle(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    (said,) = told.err.splitlines()
    assert words[-1] in said and not told.out


def test_a_rig_in_which_no_latency_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(written_files.tempfile, "NamedTemporaryFile", refuse)
    rig, led = simulated_rig(tmp_path / "rig.yaml", cameras=2), tmp_path / "brightness"
    led.write_text("0\n")
    measure = ["latency", str(rig), "--led", str(led)]
    assert main(measure) != 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"usthand: {rig}") and "Read-only" in said and "`--no-write`" in said
    with pytest.raises(AssertionError, match="was started"):
        main([*measure, "--no-write"])


@pytest.mark.parametrize("flag", ["--publish", "--events"])
@pytest.mark.parametrize("command", ["demo", "live", "replay"])
def test_an_address_that_another_program_has(
    command: str, flag: str, taken: str, commands, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*commands[command], "--no-viewer", flag, taken]) == 2
    assert f"cannot listen on `{taken}`" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--listen"], ["--record", "RECORDED", "--control"]])
def test_so_of_remote_cameras_and_of_requests(
    flags: list[str], taken: str, commands, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [flag.replace("RECORDED", str(tmp_path / "recorded")) for flag in flags]
    assert main([*commands["live"], "--no-viewer", *flags, taken]) == 2
    assert f"cannot listen on `{taken}`" in capsys.readouterr().err

"""`usthand doctor` as a whole: a rig's cameras tried, the bundle, and a Python without any package."""

import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from app.doctor.bundle import Private, write_bundle
from app.doctor.disk import check_disk
from app.doctor.examination import Examination, examine
from app.doctor.finding import Finding, Machine
from app.doctor.limits import DoctorLimits
from app.doctor.rig_trial import CameraTrial, judge_trial, rig_needs, try_cameras
from app.sources.source import Stamp
from app.transport.keys import make_keys
from calibration.camera_source import OpenCvSource
from calibration.rig import RigCamera, read_rig
from tests.app.commands.test_remedies import flags_of_commands, texts
from tests.conftest import ROOT
from tests.support.calibration_scene import ring_of_cameras
from tests.support.live_run import free_port, last_json, rig_with_a_remote_camera, simulated_rig, usthand

LIMITS = DoctorLimits()


def tried(path: Path, seconds: float = 1.0) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for each in try_cameras(read_rig(path), seconds, LIMITS):
        found.setdefault(each.topic.removeprefix("camera "), []).append(each)
    return found


def test_every_camera_of_a_rig_is_opened_at_once(tmp_path: Path) -> None:
    faults = {"cam_1": {"disconnects": [[0, 60]]}, "cam_2": {"corrupt": list(range(200))}}
    found = tried(simulated_rig(tmp_path / "rig.yaml", cameras=3, faults=faults), seconds=2.0)
    assert "frames/s of 30; simulated: 640x480" in found["cam_0"][0].text and "damaged" not in found["cam_0"][0].text
    assert found["cam_0"][1].text.startswith("time stamps: ")
    assert [(each.level, "is unplugged" in each.text) for each in found["cam_1"]] == [("problem", True)]
    (damaged,) = found["cam_2"]
    assert damaged.level == "problem" and re.fullmatch(r"0 frames came; \d+ frames were damaged", damaged.text)
    assert all(each.remedy for lines in found.values() for each in lines if each.level != "ok")


def test_a_camera_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    path = simulated_rig(tmp_path / "rig.yaml", cameras=2)
    data = yaml.safe_load(path.read_text())
    data["cameras"][0]["source"] = {"kind": "opencv", "device": f"http://admin:hunter2@127.0.0.1:{free_port()}/video"}
    path.write_text(yaml.safe_dump(data))
    (failed,) = tried(path, 0.5)["cam_0"]
    assert failed.level == "problem" and "hunter2" not in failed.text
    assert rig_needs(read_rig(path), path).cameras[0].kind == "other"


def stamps(
    count: int = 120, lost: int = 0, jitter_ms: float = 0.0, late_ms: float = 2.0, fps: float = 30
) -> list[Stamp]:
    """Of a camera of `fps`, every second one late by `jitter_ms`, with a gap of so many frames in the middle."""
    numbers = [number + (lost if number > count // 2 else 0) for number in range(count)]
    times = [round(number * 1e9 / fps + number % 2 * jitter_ms * 1e6) for number in numbers]
    return [
        Stamp(sequence=number, capture_time_ns=time, grab_time_ns=time + 2_000_000)
        for number, time in zip(numbers, times, strict=True)
    ]


def camera(device: str | int = 0, fps: float | None = 30.0) -> RigCamera:
    return replace(ring_of_cameras(2).cameras[0], source=OpenCvSource(device=device, fps=fps))


def judged(trial: CameraTrial, asked: float | None = 30.0) -> list[tuple[str, str]]:
    return [(each.level, each.text) for each in judge_trial(camera(fps=asked), trial, LIMITS)]


@pytest.mark.parametrize(
    ("device", "remedy"),
    [
        ("/dev/video0", "usthand cameras --probe"),
        ("rtsp://user:secret@10.0.0.7:554/x", "ping -c 3 10.0.0.7 "),
        ("a film.mp4", "ls -l 'a film.mp4'"),
    ],
)
def test_of_a_camera_that_does_not_come_what_shows_more_is_of_its_kind(device: str, remedy: str) -> None:
    (finding,) = judge_trial(camera(device), CameraTrial(failure="does not answer"), LIMITS)
    assert finding.remedy.startswith(remedy) and "secret" not in finding.remedy


def test_what_a_camera_did_is_judged_by_its_time_stamps() -> None:
    even = judged(CameraTrial(mode="webcam", stamps=stamps()))
    assert even == [
        ("ok", "30.00 frames/s of 30; webcam"),
        ("ok", "time stamps: 33.33 ms apart, 95 % within 0.00 ms, 0 lost, there 2.0 ms after their time"),
    ]
    slow = judged(CameraTrial(mode="webcam", stamps=stamps(fps=15)))
    assert slow[0] == ("problem", "15.00 frames/s of 30; webcam") and slow[1][0] == "ok"
    assert judged(CameraTrial(mode="webcam", stamps=stamps(fps=15)), asked=None)[0][0] == "ok"
    damaged = judged(CameraTrial(mode="webcam", stamps=stamps(), corrupt=1))
    assert damaged[0] == ("warning", "30.00 frames/s of 30; webcam; 1 frames were damaged")
    damaged = judged(CameraTrial(mode="webcam", stamps=stamps(fps=15), corrupt=1))
    assert damaged[0] == ("problem", "15.00 frames/s of 30; webcam; 1 frames were damaged")
    uneven = judged(CameraTrial(mode="webcam", stamps=stamps(jitter_ms=10)))
    assert uneven[1][0] == "warning" and "0 lost" in uneven[1][1]
    gap = judged(CameraTrial(mode="webcam", stamps=stamps(lost=4)))
    assert gap[1][0] == "warning" and "4 lost" in gap[1][1]
    backwards = stamps()
    backwards[60] = stamps()[58]
    assert judged(CameraTrial(mode="webcam", stamps=backwards))[1][0] == "problem"
    assert judged(CameraTrial(mode="webcam", stamps=stamps(2))) == [("problem", "2 frames came")]


def test_a_remote_camera_is_not_tried_here(tmp_path: Path) -> None:
    path, _ = rig_with_a_remote_camera(tmp_path / "rig.yaml")
    assert [each.text for each in tried(path, 0.5)["cam_2"]] == ["is grabbed on another machine: not tried here"]
    needs = rig_needs(read_rig(path), path)
    assert needs.remote and [each.camera_id for each in needs.cameras] == ["cam_0", "cam_1"]


def test_the_disk_is_held_against_cameras_of_other_machines_as_well(tmp_path: Path) -> None:
    """A live run records them here: 0.15 of a byte for a pixel, of 640x480 at 30 frames/s."""
    rig = read_rig(simulated_rig(tmp_path / "rig.yaml", cameras=4))
    for others in (0, 1, 4):
        cameras = tuple(replace(each, remote=number < others) for number, each in enumerate(rig.cameras))
        needs = rig_needs(replace(rig, cameras=cameras), tmp_path / "rig.yaml")
        assert needs.recorded_mbyte(LIMITS, lossless=False) == pytest.approx(4 * 640 * 480 * 30 * 0.15 / 1e6)
        assert "min of the 4 cameras of " in next(check_disk(LIMITS, needs, tmp_path)).text


@pytest.mark.parametrize(
    ("text", "said", "mends"),
    [
        ("camras: []\n", "camras", "${EDITOR:-nano} RIG"),
        ("version: 1\ncameras:\n- id: a: b\n", "not valid YAML", "${EDITOR:-nano} +3 RIG"),
        (None, "no such file", "usthand cameras   (its entries make RIG;"),
    ],
)
def test_a_rig_that_cannot_be_used_is_one_line_and_what_mends_it(
    text: str | None, said: str, mends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.doctor.examination.check_imports", lambda: iter(()))
    monkeypatch.setattr("app.doctor.examination.check_engines", lambda machine: iter(()))
    rig = tmp_path / "rig.yaml"
    if text is not None:
        rig.write_text(text)
    wanted = Examination(machine=Machine(tmp_path), rig=rig, folder=tmp_path, cache=tmp_path)
    (found,) = [each for each in examine(wanted) if each.topic == "rig"]
    assert found.level == "problem" and said in found.text and "\n" not in found.text
    assert found.remedy.startswith(mends.replace("RIG", str(rig)))


def test_what_mends_has_the_rig_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("check_imports", "check_engines", "check_opengl"):
        monkeypatch.setattr(f"app.doctor.examination.{name}", lambda *_: iter(()))
    monkeypatch.setattr("app.doctor.disk.write_mbyte_s", lambda folder: 0.1)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    given = {"machine": Machine(tmp_path), "folder": tmp_path, "cache": tmp_path}
    rig = tmp_path / "my rig.yaml"
    found = [each.remedy for each in examine(Examination(**given, rig=rig))]
    assert f"usthand live '{rig}' --headless hands.mp4   (or --no-viewer)" in found
    assert f"usthand record '{rig}' {tmp_path / 'session'} --crf 28   (or into a folder on a faster disk)" in found
    assert any(each.remedy.startswith("usthand live RIG ") for each in examine(Examination(**given)))


def test_a_check_that_fails_itself_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("never seen before")

    for name in ("check_imports", "check_engines", "check_gpu", "check_opengl"):
        monkeypatch.setattr(f"app.doctor.examination.{name}", fail)
    found = list(examine(Examination(machine=Machine(tmp_path), folder=tmp_path, cache=tmp_path)))
    failed = [each for each in found if "could not be examined (RuntimeError: never seen before)" in each.text]
    assert len(failed) == 4
    assert {"python", "display", "disk", "cameras", "clock"} <= {each.topic for each in found}


SECRETS = {
    "a password": "hunter2",
    "an own host": "studio-nine.example.org",
    "a camera's host": "cam7.corp.example",
    "an address": "192.168.17.23",
    "a user": "mariette",
    "a camera's user": "willemijn",
    "a serial number": "40012345",
    "a camera's own name": "SN8899AA",
    "a MAC address": "00:30:53:1a:2b:3c",
    "another's home": "jeroen",
}


def private_files(folder: Path) -> tuple[Path, Path, str]:
    """A rig, logs, and the secret key in them."""
    make_keys(folder / "keys")
    key = re.search(r'secret-key = "(.{40})"', (folder / "keys" / "grabber.key_secret").read_text())
    assert key is not None
    rig = folder / "rig.yaml"
    rig.write_text(
        "cameras:\n- id: cam_0\n  source: {kind: opencv, device: 'rtsp://admin:hunter2@cam7.corp.example:554/live'}\n"
        "- id: cam_1\n  source: {kind: pylon, serial: '40012345'}\n"
        "- id: cam_2\n  source: {kind: opencv, device: /dev/v4l/by-id/usb-Maker_SN8899AA-video-index0}\n"
    )
    logs = folder / "logs"
    logs.mkdir()
    (logs / "grabber-cam_0.log").write_text(
        "rtsp://admin:hunter2@cam7.corp.example:554/live is lost; http://10.0.0.9/mjpg?user=willemijn&password=hunter2\n"
        f"from 192.168.17.23 (00:30:53:1a:2b:3c), host studio-nine, user mariette, /home/mariette/rig.yaml\n"
        f'/home/jeroen/sessions; the key {key[1]} and again "{key[1]}" on studio-nine.example.org\n'
        "listening at tcp://127.0.0.1:5600, tcp://0.0.0.0:5600\n"
    )
    return rig, logs, key[1]


def unpacked(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_nothing_private_is_in_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = Private("mariette", "studio-nine.example.org", "/home/mariette")
    monkeypatch.setattr(Private, "here", classmethod(lambda cls: owner))
    rig, logs, key = private_files(tmp_path)
    findings = [Finding("disk", "ok", "/home/mariette/data on studio-nine: 3 GB free"), Finding("cpu", "ok", "8")]
    write_bundle(tmp_path / "out.zip", findings, rig, logs, Machine(), private=False)
    files = unpacked(tmp_path / "out.zip")
    assert set(files) == {
        *("doctor.txt", "doctor.json", "versions.txt", "machine.txt", "rig.yaml", "logs/grabber-cam_0.log")
    }
    everything = "\n".join(files.values())
    for what, secret in {**SECRETS, "a key": key}.items():
        assert secret not in everything, what
    assert "rtsp://***@HOST:554/live" in files["rig.yaml"]
    assert "tcp://127.0.0.1:5600, tcp://0.0.0.0:5600" in files["logs/grabber-cam_0.log"]
    assert "~/data on HOST: 3 GB free" in files["doctor.txt"]
    assert "numpy==" in files["versions.txt"] and json.loads(files["doctor.json"])[1]["topic"] == "cpu"


def test_a_bundle_has_what_is_private_where_that_is_asked_for(tmp_path: Path) -> None:
    rig, logs, key = private_files(tmp_path)
    write_bundle(tmp_path / "out.zip", [], rig, logs, Machine(), private=True)
    everything = "\n".join(unpacked(tmp_path / "out.zip").values())
    assert [what for what, secret in {**SECRETS, "a key": key}.items() if secret not in everything] == []


@pytest.mark.slow
def test_a_python_without_packages_gets_its_examination(tmp_path: Path) -> None:
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from app.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-S", "-c", start, "doctor", "--folder", str(tmp_path), "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    told = last_json(done.stdout)
    missing = next(each for each in told["findings"] if each["text"].startswith("not installed: "))
    assert "numpy" in missing["text"] and "'numpy==" in missing["remedy"]
    assert {"display", "disk", "cameras", "opengl", "ports"} <= {each["topic"] for each in told["findings"]}


@pytest.mark.slow
def test_the_command_examines_a_rig_and_gathers_a_bundle(tmp_path: Path) -> None:
    rig, bundle = simulated_rig(tmp_path / "rig.yaml", cameras=2), tmp_path / "report.zip"
    done = usthand("doctor", "--rig", rig, "--seconds", "2", "--folder", tmp_path, "--bundle", bundle, "--json")
    told = last_json(done.stdout)
    assert done.returncode == (1 if told["problem"] else 0), done.stdout + done.stderr
    assert told["ok"] == sum(each["level"] == "ok" for each in told["findings"])
    assert {"camera cam_0", "camera cam_1", "engine openvino"} <= {each["topic"] for each in told["findings"]}
    assert all(each["remedy"] for each in told["findings"] if each["level"] != "ok")
    assert "rig.yaml" in unpacked(bundle)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--private"], "--bundle"),
        (["--bundle", "out.txt"], ".zip"),
        (["--seconds", "0"], "seconds above 0"),
        (["--seconds", "nan"], "seconds above 0"),
        (["--seconds", "inf"], "seconds above 0"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags: list[str], said: str) -> None:
    done = usthand("doctor", *flags)
    assert done.returncode == 2 and said in done.stderr


def test_every_command_that_mends_has_its_flags() -> None:
    commands, checked = flags_of_commands(), 0
    for path in sorted((ROOT / "app" / "doctor").glob("*.py")):
        for line, text in texts(path):
            for command, rest in re.findall(r"usthand ([a-z-]+)([^()`]*)", text):
                flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest))
                words = f"{command} {rest.split()[0]}" if rest.split() else command
                known = commands.get(words) or commands[command]
                assert flags <= known, f"{path.name}:{line}: usthand {command} has no {flags - known}"
                checked += 1
    assert checked > 10

"""The container: the Dockerfile and compose.yaml are read, and what they run is run without a container engine."""

import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml

from app.cli import build_parser
from app.doctor.packages import LIBRARIES
from app.run.health import standing_still
from tests.conftest import ROOT
from tests.support.broken_machine import needs_mounts
from tests.support.live_run import LiveRun, free_port, last_json, simulated_rig, usthand

SETUP = ROOT / "deploy" / "setup.sh"
TARGETS = ("cpu", "gpu")


def stages() -> dict[str, tuple[str, list[str]]]:
    """By name: what it is made from, and its instructions, each on one line."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    found: dict[str, tuple[str, list[str]]] = {}
    current: list[str] = []
    for line in text.splitlines():
        begun = re.match(r"FROM (\S+) AS (\S+)$", line)
        if begun:
            current = []
            found[begun[2]] = (begun[1], current)
        elif line.strip() and not line.startswith("#"):
            current.append(line)
    return found


def test_the_targets_are_there_and_the_default_is_cpu() -> None:
    found = stages()
    assert {"cpu", "gpu", "dev"} <= set(found) and list(found)[-1] == "cpu"
    for base, instructions in found.values():
        assert base in found or base.startswith("python:${PYTHON}-slim-")
        copied = [re.search(r"--from=(\S+)", line) for line in instructions]
        assert all(match[1] in found for match in copied if match)


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_has_no_sources_and_no_root_and_says_how_it_is(target: str) -> None:
    base, instructions = stages()[target]
    assert base == "system"
    copies = [line for line in instructions if line.startswith("COPY")]
    assert copies == [f"COPY --from=build-{target} /opt/usthand /opt/usthand"]
    users = [line for line in instructions if line.startswith("USER")]
    assert users == ["USER usthand"]
    assert instructions.index("USER usthand") < instructions.index('ENTRYPOINT ["usthand"]')
    health = next(line for line in instructions if line.startswith("HEALTHCHECK"))
    assert health.endswith('CMD ["python", "-m", "app.run.health"]')
    assert any("deploy.sbom" in line for line in instructions)


def test_the_images_steps_are_those_of_setup_sh() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    script = SETUP.read_text()
    steps, everything = [], [line for _, lines in stages().values() for line in lines]
    for line in everything:
        assert not re.search(r"apt-get install|pip install|gcc|build-essential", line), line
        steps += re.findall(r"setup\.sh (\w+)(?: (\S+))?(?: (\S+))?", line)
    assert {name for name, _, _ in steps} == {"system", "install", "slim", "develop"}
    assert all(f"\n{name})" in script for name, _, _ in steps)
    given = [line.partition("=")[2] for line in everything if line.startswith("ARG EXTRAS")]
    assert len(given) == len([step for step in steps if step[0] == "install"]) and set(given) <= extras


def fake_debian(folder: Path, present: str = "") -> dict[str, str]:
    """A Debian that has these packages, and whose apt-get writes down what it is asked for."""
    for name, text in {
        "dpkg-query": f'for last; do :; done; case " {present} " in *" $last "*) echo installed;; esac',
        "apt-get": f'echo "$@" >> {folder}/asked',
        "sudo": 'shift; exec "$@"',
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def setup(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run([SETUP, *arguments], env=env, capture_output=True, text=True, timeout=60, check=False)


def test_setup_installs_what_the_application_needs_and_for_tests_more(tmp_path: Path) -> None:
    env = fake_debian(tmp_path, present="libgl1")
    assert setup("system", "runtime", env=env).returncode == 0
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked[0] == "update -qq" and len(asked) == 2
    packages = set(asked[1].split()) - {"install", "-qq", "-y", "--no-install-recommends"}
    # What `usthand doctor` misses is what is installed here.
    assert packages == (set(LIBRARIES.values()) | {"libgl1-mesa-dri"}) - {"libgl1"}
    (tmp_path / "asked").unlink()
    assert setup("system", "all", env=env).returncode == 0
    assert {"xvfb", *packages} < set((tmp_path / "asked").read_text().split())


def test_setup_says_what_it_cannot_do(tmp_path: Path) -> None:
    env = fake_debian(tmp_path)
    (tmp_path / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    failed = setup("system", "runtime", env=env)
    assert failed.returncode == 1 and "apt-get install -y --no-install-recommends libusb-1.0-0" in failed.stderr
    unknown = setup("nonsense", env=env)
    assert unknown.returncode == 2 and "unknown step nonsense" in unknown.stderr


def services() -> dict[str, dict]:
    """As compose reads them where no variable is set; their mounts in one line, SOURCE:TARGET:ro."""
    text = (ROOT / "deploy" / "compose.yaml").read_text()
    found = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))["services"]
    for service in found.values():
        mounts = service["volumes"]
        # Docker makes a folder of root's in the place of a key that is not there, unless it is told.
        assert all(each["bind"] == {"create_host_path": False} for each in mounts)
        service["volumes"] = [
            f"{each['source']}:{each['target']}:{'ro' if each['read_only'] else 'rw'}" for each in mounts
        ]
    return found


def test_compose_has_a_worker_and_two_grabbers_that_may_do_little() -> None:
    found = services()
    assert [service["command"][0] for service in found.values()] == ["live", "grab", "grab"]
    for service in found.values():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service
        assert any(each.startswith("/tmp:") for each in service["tmpfs"])
        assert all(each.endswith(":ro") for each in service["volumes"])
        assert service["build"]["target"] in stages()


def test_compose_gives_each_the_keys_that_it_needs_and_no_others() -> None:
    for name, service in services().items():
        keys = {Path(each.split(":")[1]).name for each in service["volumes"] if each.split(":")[1] != "/rig"}
        needed = {"worker.key_secret", "grabber.key"} if name == "worker" else {"worker.key", "grabber.key_secret"}
        assert keys == needed


def test_the_commands_of_compose_are_commands_and_meet_at_one_port() -> None:
    parser, found = build_parser(), services()
    worker = parser.parse_args(found["worker"]["command"])
    grabbers = [parser.parse_args(found[name]["command"]) for name in ("cam_0", "cam_1")]
    assert [each.camera for each in grabbers] == ["cam_0", "cam_1"]
    assert {each.connect for each in grabbers} == {"tcp://worker:5600"} and worker.listen == "tcp://0.0.0.0:5600"
    assert found["worker"]["ports"] == ["5600-5601:5600-5601"]


@pytest.mark.slow
def test_what_compose_runs_works_together(tmp_path: Path) -> None:
    """Its three commands, with the files that it mounts and nothing else, as processes of this machine."""
    assert usthand("keys", tmp_path / "keys").returncode == 0
    rig = simulated_rig(tmp_path / "rig.yaml", cameras=2)
    data = yaml.safe_load(rig.read_text())
    for camera in data["cameras"]:
        camera["remote"] = True
    rig.write_text(yaml.safe_dump(data))
    port, found = free_port(), services()

    def command(name: str) -> list[str]:
        place = tmp_path / name
        place.mkdir()
        for mount in found[name]["volumes"]:
            source, target, _ = mount.split(":")
            if target != "/rig":
                (place / Path(target).name).write_bytes((tmp_path / "keys" / Path(source).name).read_bytes())
        swaps = {"/keys": str(place), "/rig": str(tmp_path), "tcp://0.0.0.0:5600": f"tcp://0.0.0.0:{port}"}
        swaps["tcp://worker:5600"] = f"tcp://127.0.0.1:{port}"
        given = found[name]["command"]
        left = given[: given.index("--publish")] if "--publish" in given else given  # the test has its own address
        return [str(swaps.get(word, word)) for word in left]

    with LiveRun(tmp_path, *command("worker"), "--estimator", "simulated") as run:
        grabbers = [
            subprocess.Popen([sys.executable, "-m", "app", *command(name)], cwd=ROOT) for name in ("cam_0", "cam_1")
        ]
        try:
            sets = run.sets(10)
        finally:
            for each in grabbers:
                each.terminate()
            assert all(each.wait(30) is not None for each in grabbers)
        assert {"cam_0", "cam_1"} <= set(sets[-1].hands[0].views)


def pulse_of(folder: Path, beats: str) -> subprocess.Popen:
    """A process with a pulse."""
    program = (
        "import os, pathlib, time\nfrom app.run.pulse import pulse\n"
        f"pulse.open(pathlib.Path({str(folder)!r}) / f'pulse-{{os.getpid()}}')\n{beats}\n"
    )
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)


def test_a_run_is_healthy_while_its_processes_go_round(tmp_path: Path) -> None:
    (tmp_path / "pulse-999999999").write_bytes(b"\1" + bytes(15))  # of one that has ended
    loading = pulse_of(tmp_path, "time.sleep(60)")
    beating = pulse_of(tmp_path, "while True: pulse.beat(); time.sleep(0.05)")
    still = pulse_of(tmp_path, "pulse.beat(); time.sleep(60)")
    try:
        pulses = {each.pid: tmp_path / f"pulse-{each.pid}" for each in (loading, beating, still)}
        end = time.monotonic() + 30
        while not all(path.exists() and (path.read_bytes()[0] or pid == loading.pid) for pid, path in pulses.items()):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert standing_still([tmp_path], limit_s=3) == [str(pulses[still.pid])]
        still.kill()
        still.wait()
        assert standing_still([tmp_path], limit_s=30) == []
    finally:
        for each in (loading, beating, still):
            each.kill()
            each.wait()


READ_ONLY = """
mount --rbind / "$1"
mount -o remount,ro,bind "$1"
mount -t tmpfs -o mode=1777 none "$1/tmp"
cd /
exec chroot "$1" env HOME=/tmp/home XDG_STATE_HOME= XDG_CACHE_HOME= sh -ec \
    'if touch "$1/written" 2>/dev/null; then exit 77; fi; cd "$1"; shift; exec "$@"' sh "$2" "$3" \
    -m app demo --drawn --no-viewer --seconds 1 --json
"""


@pytest.mark.slow
def test_a_root_that_cannot_be_written_to_is_enough(tmp_path: Path) -> None:
    """As `docker run --read-only --tmpfs /tmp` has it: everything but /tmp is read-only."""
    needs_mounts()
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", READ_ONLY, "sh", tmp_path, ROOT]
    done = subprocess.run([*command, sys.executable], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert last_json(done.stdout)["sets_with_hand"] > 0

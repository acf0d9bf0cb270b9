"""Batches on real engines, with real commands in real processes, some of which are killed."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.cli import main
from app.convert.conversion import convert
from tests.conftest import ROOT
from tests.support.object_store import object_store
from tests.support.slurm_cluster import needs_slurm, slurm_cluster

pytestmark = pytest.mark.slow
_PATIENCE_S = 240


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sessions of simulated hands."""
    folder = tmp_path_factory.mktemp("sessions") / "all"
    assert main(["simulate", str(folder), "--sets", "48", "--sessions", "2", "--cameras", "2", "--size", "320x240",
                 "--hands", "right", "--in-front", "--no-things", "--workers", "1"]) == 0  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def alone(sessions: Path) -> dict[str, bytes]:
    """The pose file of each session, as the command alone writes it."""
    poses = {}
    for session in sorted(sessions.iterdir()):
        out = session.parent.parent / f"{session.name}.npz"
        assert _usthand("replay", session, "--fast", "--no-viewer", "--poses", out).wait(_PATIENCE_S) == 0
        poses[session.name] = out.read_bytes()
    return poses


def _usthand(*words: object, env: dict[str, str] | None = None) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "app", *map(str, words)], cwd=ROOT, stdout=subprocess.PIPE,
                            start_new_session=True, env=env)  # fmt: skip


def _printed(process: subprocess.Popen) -> dict:
    out, _ = process.communicate(timeout=_PATIENCE_S)
    return json.loads(out.splitlines()[-1])


def _poses(out: Path) -> dict[str, bytes]:
    return {path.name.split("-")[0]: (path / "poses.npz").read_bytes() for path in (out / "results").iterdir()}


def _attempts(out: Path) -> list[list[dict]]:
    return [[json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
            for path in sorted(out.glob("tasks/*/attempts.jsonl"))]  # fmt: skip


def _wait_for(what: Callable[[], object], process: subprocess.Popen) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not what():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)


def _listens_at(process: subprocess.Popen) -> set[str]:
    """The addresses at which it and all that it started listen, without the mapping of IPv4."""
    first = psutil.Process(process.pid)
    listening = set()
    for each in (first, *first.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found = (one for one in each.net_connections() if one.status == psutil.CONN_LISTEN)
            listening |= {one.laddr.ip.removeprefix("::ffff:") for one in found}
    return listening


def _works(worker: int) -> bool:
    """Whether the worker's command has begun its own processes: it is in the middle of its work."""
    try:
        children = psutil.Process(worker).children(recursive=True)
        return any("app.worker.process" in " ".join(child.cmdline()) for child in children)
    except psutil.NoSuchProcess:
        return False


def test_two_workers_give_what_single_runs_give_and_a_killed_one_costs_its_session_alone(
    sessions: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    batch = _usthand("batch", "replay", sessions, "-o", tmp_path, "--workers", 2, "--json")
    _wait_for(lambda: len(_attempts(tmp_path)) == 2 and all(_attempts(tmp_path)), batch)
    worker = int(_attempts(tmp_path)[0][0]["begun"].split()[-1])
    _wait_for(lambda: _works(worker), batch)
    assert _listens_at(batch) == {"127.0.0.1"}
    os.kill(worker, signal.SIGKILL)
    printed = _printed(batch)
    assert batch.returncode == 0 and (printed["done"], printed["failed"], printed["killed"]) == (2, [], 1)
    assert _poses(tmp_path) == alone
    killed, other = _attempts(tmp_path)
    assert [list(line)[2] for line in killed] == ["begun", "begun", "ended"]
    assert [list(line)[2] for line in other] == ["begun", "ended"]
    record = next(tmp_path.glob("results/0000-*/task.json"))
    assert "ended without a word" in json.loads(record.read_text())["lost"][0]


def test_an_interrupted_batch_ends_and_goes_on(sessions: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    many, out = tmp_path / "many", tmp_path / "out"
    for copy in range(4):  # so that some are left, however late the interruption comes
        for session in sessions.iterdir():
            shutil.copytree(session, many / f"{copy}_{session.name}")
    batch = _usthand("batch", "replay", many, "-o", out, "--workers", 1, "--json")
    _wait_for(lambda: any(_attempts(out)), batch)
    worker = int(next(each for each in _attempts(out) if each)[0]["begun"].split()[-1])
    _wait_for(lambda: _works(worker), batch)
    began = psutil.Process(batch.pid).children(recursive=True)
    os.killpg(batch.pid, signal.SIGINT)
    printed = _printed(batch)
    assert batch.returncode == 1 and printed["done"] < 8 and not printed["failed"]
    _, running = psutil.wait_procs(began, timeout=_PATIENCE_S)
    assert not running and not (out / ".stop").exists()
    done = printed["done"]
    again = _usthand("batch", "replay", many, "-o", out, "--workers", 1, "--json")
    printed = _printed(again)
    assert again.returncode == 0 and (printed["done"], printed["finished_before"]) == (8, done)
    assert _poses(out) == {f"{copy}_{name}": poses for copy in range(4) for name, poses in alone.items()}


@pytest.mark.parametrize(("engine", "flags", "needs"), [
    ("ray", ["--on", "ray"], "ray"),
    ("submitit", ["--on", "slurm", "--slurm", "cluster=local"], "submitit"),
])  # fmt: skip
def test_other_engines_give_the_same(
    engine: str, flags: list[str], needs: str, sessions: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    batch = _usthand("batch", "replay", sessions,
                     "-o", tmp_path / "out", "--workers", 2, "--json", *flags)  # fmt: skip
    _wait_for(lambda: any(_attempts(tmp_path / "out")), batch)
    assert _listens_at(batch) <= {"127.0.0.1"}
    printed = _printed(batch)
    assert batch.returncode == 0 and printed["done"] == 2
    assert _poses(tmp_path / "out") == alone


def test_slurm_gives_the_same_and_a_killed_job_is_given_again(
    sessions: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    needs_slurm()
    pytest.importorskip("submitit")
    with slurm_cluster(tmp_path / "slurm") as env:
        out = tmp_path / "out"
        words = ("batch", "replay", sessions, "-o", out, "--workers", 2, "--json", "--on", "slurm")
        refused = _usthand(*words, "--slurm", "slurm_partition=nowhere", env=env)
        assert refused.wait(_PATIENCE_S) == 2 and not list(out.glob("results/*"))
        batch = _usthand(*words, env=env)
        _wait_for(lambda: len(_attempts(out)) == 2 and all(_attempts(out)), batch)
        worker = int(_attempts(out)[0][0]["begun"].split()[-1])
        _wait_for(lambda: _works(worker), batch)
        os.kill(worker, signal.SIGKILL)
        printed = _printed(batch)
        assert batch.returncode == 0 and (printed["done"], printed["killed"]) == (2, 1), printed
        assert _poses(out) == alone
        left = subprocess.run(["squeue", "--noheader"], env=env, capture_output=True, text=True, check=True)
        assert left.stdout == ""


def test_sessions_and_results_in_object_storage_whose_connections_break(
    sessions: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    with object_store(breaks=3) as settings:
        store = pytest.importorskip("s3fs").S3FileSystem(
            endpoint_url=settings["AWS_ENDPOINT_URL"], key="testing", secret="testing"
        )
        store.mkdir("lab")
        store.put(str(sessions), "lab/sessions", recursive=True)
        env = {**os.environ, **settings}
        batch = _usthand("batch", "replay", "s3://lab/sessions", "-o", tmp_path / "poses", "--workers", 2,
                         "--results", "s3://lab/poses", "--json", env=env)  # fmt: skip
        printed = _printed(batch)
        assert batch.returncode == 0 and (printed["done"], printed["results"]) == (2, "s3://lab/poses"), printed
        there = {path.split("/")[2].split("-")[0]: path for path in store.find("lab/poses") if "poses.npz" in path}
        assert {name: store.cat_file(path) for name, path in there.items()} == alone
        again = _usthand("batch", "replay", "s3://lab/sessions", "-o", tmp_path / "poses",
                         "--results", "s3://lab/poses", "--json", env=env)  # fmt: skip
        assert _printed(again)["finished_before"] == 2
        files = _usthand("batch", "convert", "s3://lab/poses", "-o", tmp_path / "csv", "--to", "csv", "--json", env=env)
        assert _printed(files)["sessions"] == 2  # of which the second has no hand to convert
        (tmp_path / "poses.npz").write_bytes(alone["0000"])
        convert(tmp_path / "poses.npz", tmp_path / "alone.csv")
        assert next(tmp_path.glob("csv/results/0000-*/hands.csv")).read_bytes() == (tmp_path / "alone.csv").read_bytes()
        nowhere = _usthand("batch", "replay", "s3://nobody/sessions", "-o", tmp_path / "no", env=env)
        assert nowhere.wait(_PATIENCE_S) == 2


def test_labels_data_and_files_follow_one_another(sessions: Path, tmp_path: Path) -> None:
    """label, then data of what it left; replay, then convert of what it left."""
    labels, data = tmp_path / "labels", tmp_path / "data"
    batch = _usthand("batch", "label", sessions / "0000", "-o", labels, "--workers", 1, "--json")
    printed = _printed(batch)
    assert batch.returncode == 0 and printed["done"] == 1, printed
    labelled = next((labels / "results").iterdir())
    assert not (sessions / "0000" / "labels.json").exists()
    shutil.copytree(sessions / "0000", tmp_path / "copy", ignore=shutil.ignore_patterns("labels.*"))
    assert _usthand("label", tmp_path / "copy").wait(_PATIENCE_S) == 0
    assert (labelled / "labels.npz").read_bytes() == (tmp_path / "copy" / "labels.npz").read_bytes()
    batch = _usthand("batch", "data", labels / "results", "-o", data, "--json", "--", "--size", "64")
    printed = _printed(batch)
    assert batch.returncode == 0 and printed["done"] == 1, printed
    assert next(data.glob("results/*/cache/manifest.json"))


def test_simulated_crops_in_parts(tmp_path: Path) -> None:
    batch = _usthand("batch", "simulate-crops", "-o", tmp_path, "--parts", 2, "--json", "--",
                     "--people", 1, "--clips", 1, "--frames", 5, "--views", 2, "--size", 64)  # fmt: skip
    printed = _printed(batch)
    assert batch.returncode == 0 and printed["done"] == 2, printed
    shards = [path.read_bytes() for path in tmp_path.glob("results/*/cache/shard_*/crops_rgb.npy")]
    assert len(shards) == 2 and shards[0] != shards[1]

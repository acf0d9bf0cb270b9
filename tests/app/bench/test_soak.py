"""`usthand bench soak`: its schedule, its judgement, and a minute of it over a real run."""

import itertools
import json
from typing import Any

import numpy as np
import pytest

from app.bench.soak.observer import HeardSet, Observer
from app.bench.soak.promises import broken_promises
from app.bench.soak.schedule import KINDS, OF_REMOTE, chaos
from tests.support.live_run import last_json, usthand

GOOD: dict[str, Any] = {
    "fps": 30.0,
    "lost_beside_share": 0.0,
    "causes": {"worker_killed": {"events": 2, "recovered": 2, "recover_s_most": 2.0}},
    "lost_during": {"worker_killed": 60},
    "seconds_during": {"worker_killed": 4.0},
    "growth": {"worker": {"seconds": 100, "memory_mb": 1.0, "descriptors": 0, "threads": 0}},
    "exit_code": 0,
    "summary": {"frame_sets": 100},
    "left_behind": [],
    "tracebacks": 0,
}


def test_a_schedule_follows_from_its_seed_and_has_every_kind() -> None:
    events = list(itertools.islice(chaos(3, ["cam_0", "cam_1"], "cam_2"), 40))
    assert events == list(itertools.islice(chaos(3, ["cam_0", "cam_1"], "cam_2"), 40))
    assert events != list(itertools.islice(chaos(4, ["cam_0", "cam_1"], "cam_2"), 40))
    assert {event.kind for event in events} == set(KINDS)
    assert all((event.camera_id == "cam_2") == (event.kind in OF_REMOTE) for event in events)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lost_beside_share": 0.1}, "10.0% of the sets"),
        ({"causes": {"worker_killed": {"events": 2, "recovered": 1, "recover_s_most": 2.0}}}, "1 of 2 not recovered"),
        ({"causes": {"worker_killed": {"events": 2, "recovered": 2, "recover_s_most": 9.0}}}, "9.0 s until all"),
        ({"growth": {"worker": {"seconds": 9, "memory_mb": 5.5, "descriptors": 0, "threads": 0}}}, "5.5 memory_mb"),
        ({"growth": {"worker": {"seconds": 9, "memory_mb": 0.0, "descriptors": 1, "threads": 0}}}, "1 descriptors"),
        ({"exit_code": 1}, "exit code 1"),
        ({"summary": {"frame_sets": None}}, "no summary"),
        ({"left_behind": ["worker"]}, "left behind: worker"),
        ({"tracebacks": 2}, "2 tracebacks"),
    ],
)
def test_a_promise_that_is_not_kept_is_named(change: dict, says: str) -> None:
    assert broken_promises(GOOD) == []
    (line,) = broken_promises(GOOD | change)
    assert says in line


def test_moments_without_a_set_are_counted() -> None:
    observer = Observer("ipc:///tmp/usthand-nobody", ["cam_0", "cam_1"])
    period_ns = 1e9 / 30
    observer.sets.extend(HeardSet(round(n * period_ns) + 2_000_000, 3 if n < 50 else 1) for n in range(100) if n % 10)
    missed = observer.missed_ns(period_ns, 0, round(99 * period_ns))
    assert np.round(missed / period_ns).tolist() == list(range(0, 99, 10))
    assert observer.wait_for("cam_1", round(40.5 * period_ns), 1.0) == pytest.approx(0.5 / 30 + 0.002, abs=1e-3)
    assert observer.wait_for("cam_1", round(60 * period_ns), 0.1) is None
    observer.close()


@pytest.mark.slow
def test_every_fault_of_two_minutes_is_recovered_from() -> None:
    done = usthand("bench", "soak", "--minutes", "2", "--cameras", "3", "--fps", "15", "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    result = last_json(done.stdout)
    assert json.loads(json.dumps(result)) == result
    assert result["causes"]
    for kind, row in result["causes"].items():
        assert kind in KINDS
        assert row["recovered"] == row["events"] > 0, kind
    assert result["exit_code"] == 0
    assert result["left_behind"] == []
    assert result["tracebacks"] == 0
    assert result["summary"]["frame_sets"] > 0
    assert set(result["lost_during"]) == set(result["lost_after"]) == set(result["causes"])
    assert result["lost"] >= result["lost_beside"]


@pytest.mark.slow
def test_a_load_is_told_by_cause_and_process() -> None:
    small = ["--cameras", "3", "--width", "320", "--height", "240", "--seconds", "8"]
    done = usthand("bench", "load", *small, "--json")
    assert done.returncode == 0, done.stderr
    result = last_json(done.stdout)
    assert set(result["lost"]) == {"dropped", "late", "stale"}
    assert result["frames"] > 0
    assert result["sets_per_s"] > 0
    assert {"supervisor", "worker", "grabber"} <= set(result["cores"])


@pytest.mark.slow
def test_what_a_hostile_peer_costs_is_told_beside_a_run_without() -> None:
    small = ["--cameras", "3", "--fps", "15", "--minutes", "0.3"]
    done = usthand("bench", "soak", "--hostile", "20000", *small, "--json")
    assert done.returncode == 0, done.stderr
    result = last_json(done.stdout)
    assert result["offered_per_s"] > 0
    parts = {"without", "beside", "with", "ratio", "ratio_of_machine"}
    assert all(set(row) == parts for row in result["cameras"].values())
    assert result["kept"] == min(row["ratio"] for row in result["cameras"].values())
    assert result["kept_of_machine"] == min(row["ratio_of_machine"] for row in result["cameras"].values())
    assert result["cpu_ms_per_set"]["with"] > 0
    assert result["cameras"]["cam_0"]["with"] > 0

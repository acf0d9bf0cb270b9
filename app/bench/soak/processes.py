"""The processes of a run as the kernel tells of them: who they are, and what each holds."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Holding:
    """`memory_mb`: the process's own, without what it shares. `age_s`: for how long it has run."""

    age_s: float
    memory_mb: float
    descriptors: int
    threads: int


def family(pid: int) -> dict[int, str]:
    """The process and all its descendants, with their names."""
    parents = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, waiting = {pid: "supervisor"}, [pid]
    while waiting:
        parent = waiting.pop()
        for child in [child for child, its in parents.items() if its == parent]:
            found[child] = name_of(child)
            waiting.append(child)
    return found


def name_of(pid: int) -> str:
    """Of a process of a run: `worker`, `recorder`, `grabber of cam_0`, `encoder of cam_0`; empty for others."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    names = {
        "app.worker.process": "worker",
        "app.recording.process": "recorder",
        "app.capture.grabber": "grabber of ",
        "app.recording.encoder": "encoder of ",
    }
    module = words[2] if len(words) > 2 else ""
    name = names.get(module, "")
    return f"{name}{words[5]}" if name.endswith(" ") and len(words) > 5 else name


def holding_of(pid: int) -> Holding | None:
    """None where the process is gone."""
    place = _PROC / str(pid)
    try:
        rollup = dict(line.split(":") for line in (place / "smaps_rollup").read_text().splitlines()[1:])
        status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
        started_s = int((place / "stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        up_s = float((_PROC / "uptime").read_text().split()[0])
        descriptors = len(os.listdir(place / "fd"))
    except (OSError, KeyError, ValueError):
        return None
    memory_kb = sum(int(rollup[name].split()[0]) for name in ("Anonymous", "Swap"))
    return Holding(up_s - started_s, memory_kb / 1e3, descriptors, int(status["Threads"]))


def cpu_s(pid: int | None) -> float:
    """Processor time that the process has taken; 0 where it is gone."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

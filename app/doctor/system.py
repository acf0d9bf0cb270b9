"""What the machine brings: shared memory, the processor's speed, its clock, ports, the cache."""

import ctypes
import os
import re
import socket
from pathlib import Path

from app.doctor.finding import Finding, Findings, Machine, run_tool
from app.doctor.limits import DoctorLimits

_MB, _GB = 10**6, 10**9
_CLOCK_ERROR = 5  # TIME_ERROR of <sys/timex.h>


def check_shared_memory(machine: Machine, limits: DoctorLimits) -> Findings:
    """The frames of a run lie in memory of their own (memfd): /dev/shm is for the workers of a training."""
    try:
        found = os.statvfs(machine.path("dev/shm"))
    except OSError:
        yield Finding("/dev/shm", "warning", "there is none; training needs it", "sudo mount -t tmpfs none /dev/shm")
        return
    size_mb = found.f_blocks * found.f_frsize // _MB
    if size_mb < limits.shm_mb:
        text = f"{size_mb} MB; `usthand train` and `adapt` hand batches over in it, and need {limits.shm_mb} MB or more"
        remedy = "sudo mount -o remount,size=2g /dev/shm   (a container: docker run --shm-size 2g)"
        yield Finding("/dev/shm", "warning", text, remedy)
    else:
        yield Finding("/dev/shm", "ok", f"{size_mb} MB")


def check_governor(machine: Machine) -> Findings:
    paths = machine.find("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    governors = {machine.read(str(path.relative_to(machine.root))) for path in paths}
    count = len(os.sched_getaffinity(0))
    if "powersave" in governors:
        text = "the governor is powersave: the processor speeds up late, and sets come late"
        yield Finding("cpu", "warning", text, "sudo cpupower frequency-set -g performance")
    else:
        yield Finding("cpu", "ok", f"{count} for this process, governor {', '.join(sorted(governors)) or 'not told'}")


def check_clock(limits: DoctorLimits, remote: bool) -> Findings:
    """Of this machine. Frames of another one are put on its clock by measured delays, dates of recordings are not."""
    synchronised, how = _synchronised(limits)
    if synchronised:
        yield Finding("clock", "ok", how)
        return
    why = "cameras of other machines are corrected, but dates of recordings differ" if remote else "one machine alone"
    yield Finding("clock", "warning", f"not synchronised ({how}; {why})", "sudo apt-get install chrony")


def _synchronised(limits: DoctorLimits) -> tuple[bool, str]:
    """Asked of chrony, else of systemd, else of the kernel itself."""
    tracking = run_tool("chronyc", "tracking")
    if tracking is not None:
        leap = re.search(r"Leap status\s*:\s*(.+)", tracking)
        offset = re.search(r"System time\s*:\s*([\d.]+) seconds", tracking)
        offset_ms = 1e3 * float(offset[1]) if offset else 0.0
        how = f"chrony: {leap[1].strip() if leap else 'no status'}, {offset_ms:.3f} ms from its server"
        return bool(leap) and leap[1].strip() != "Not synchronised" and offset_ms <= limits.clock_ms, how
    told = run_tool("timedatectl", "show", "-p", "NTPSynchronized", "--value")
    if told is not None:
        return told.strip() == "yes", f"timedatectl: NTPSynchronized is {told.strip()}"
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    return state not in (-1, _CLOCK_ERROR), "the kernel: " + ("unsynchronised" if state == _CLOCK_ERROR else "in step")


def check_ports(machine: Machine, port: int, remote: bool) -> Findings:
    """`port` of `--listen`, and the next one, for the clocks."""
    for number in (port, port + 1):
        with socket.socket() as probe:
            # As ZeroMQ does: connections of an earlier run that are still closing are in nobody's way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", number))
                continue
            except OSError as error:
                reason = error.strerror
        holder = _holder_of_port(machine, number)
        text = f"{number} cannot be listened to: {reason}" + (f", {holder} has it" if holder else "")
        remedy = f"ss -ltnp 'sport = :{number}'   (end it, or: usthand live RIG --listen tcp://0.0.0.0:{port + 10})"
        yield Finding("ports", "problem" if remote else "warning", text, remedy)
        return
    yield Finding("ports", "ok", f"{port} and {port + 1} are free")


def _holder_of_port(machine: Machine, port: int) -> str:
    inodes = set()
    for table in ("proc/net/tcp", "proc/net/tcp6"):
        for line in machine.read(table).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return holder_of(machine, inodes)


def holder_of(machine: Machine, targets: set[str]) -> str:
    """The process that has one of these files or sockets open, as far as this user may see it; else empty."""
    for folder in machine.find("proc/[0-9]*"):
        try:
            links = {str(link.readlink()) for link in (folder / "fd").iterdir()}
        except OSError:
            continue
        if links & targets and int(folder.name) != os.getpid():
            name = machine.read(f"proc/{folder.name}/comm")
            return f"{name} (process {folder.name})"
    return ""


def folder_bytes(folder: Path) -> int:
    """What the files below it take on the disk."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(Path(place) / name).st_blocks * 512
            except OSError:
                continue
    return total


def check_cache(limits: DoctorLimits, cache: Path) -> Findings:
    size = folder_bytes(cache)
    if size > limits.cache_gb * _GB:
        yield Finding("cache", "warning", f"{size / _GB:.1f} GB in {cache}", "usthand cache --empty")
    else:
        yield Finding("cache", "ok", f"{size / _GB:.2f} GB in {cache}")

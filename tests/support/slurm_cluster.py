"""A SLURM of one node on this machine: munged, slurmctld and slurmd of Debian, in a folder, on ports that are free."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.live_run import free_port

_PATIENCE_S = 60
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")


def needs_slurm() -> None:
    """Skips where SLURM is not installed, or may not be started: slurmd starts jobs as their owners."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"SLURM is not installed ({', '.join(missing)}): sudo apt-get install slurmctld slurmd munge")
    if os.geteuid() != 0:
        pytest.skip("a SLURM of the test's own needs root")


@contextlib.contextmanager
def slurm_cluster(folder: Path, cpus: int = 2) -> Iterator[dict[str, str]]:
    """Gives the environment in which SLURM's commands find it; what it started has ended afterwards."""
    folder.mkdir()
    env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    (folder / "slurm.conf").write_text(_configuration(folder, cpus))
    munged = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", f"--key-file={folder}/munge.key",
              f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munge.seed"]  # fmt: skip
    commands = (munged, ["slurmctld", "-D"], ["slurmd", "-D", "-N", "node"])
    processes = []
    try:
        for command in commands:
            with (folder / f"{command[0]}.txt").open("wb") as log:
                processes.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
        end = time.monotonic() + _PATIENCE_S
        while "idle" not in _asked(["sinfo", "--noheader", "--format=%T"], env):
            told = "".join((folder / f"{command[0]}.txt").read_text() for command in commands)
            assert time.monotonic() < end and all(each.poll() is None for each in processes), told[-4000:]
            time.sleep(0.2)
        yield env
    finally:
        _asked(["scancel", "--full", "--user", "root"], env)
        for each in reversed(processes):
            each.terminate()
            each.wait(_PATIENCE_S)


def _asked(command: list[str], env: dict[str, str]) -> str:
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=_PATIENCE_S, check=False).stdout


def _configuration(folder: Path, cpus: int) -> str:
    """Jobs are followed by /proc alone, since a container has no cgroups of its own."""
    told = {
        "ClusterName": "usthand",
        "SlurmctldHost": "localhost(127.0.0.1)",
        "SlurmctldPort": free_port(),
        "SlurmdPort": free_port(),
        "SlurmUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge.socket",
        "CredType": "cred/munge",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "SchedulerParameters": "bf_interval=1,sched_min_interval=0",
        "ReturnToService": 2,
        "MailProg": "/bin/true",
        "NodeName": f"node NodeHostname=localhost NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN",
        "PartitionName": "all Nodes=node Default=YES MaxTime=INFINITE State=UP",
    }
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    return "".join(f"{name}={value}\n" for name, value in told.items())

"""Damaged files by the thousand: each is read, or refused with a UserError, within seconds and without much memory.

`make fuzz` goes on for ten minutes (`python -m tests.fuzz.fuzz --seconds N` for others) and prints what it found; each
finding is told by its kind of file and its seed, and belongs into a test.
"""

import argparse
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from calibration.errors import UserError
from tests.fuzz.files import FILES
from tests.fuzz.large_files import THREADED
from tests.fuzz.mutations import mutate

_MOST_BYTES = 512 << 20
"""Of memory, beside what the process has when it begins."""
_MOST_ADDRESSES = 4 << 30
"""Of addresses, likewise: threads and maps of files take many that they do not use."""


class Finding(NamedTuple):
    kind: str
    seed: int
    what: str


def damaged(kind: str, seed: int, folder: Path) -> Path:
    """Write the whole file of a kind, and then the worse copy of that seed in its place."""
    path = FILES[kind].make(folder)
    path.write_bytes(mutate(path.read_bytes(), random.Random(seed)))
    return path


def read_damaged(kind: str, seeds: Iterable[int], most_s: float = 5) -> list[Finding]:
    """Read the copies of those seeds in a process of its own; what is not read or refused in `most_s` of processor time
    is found.

    A process that dies is found, too, and the reading goes on after it.
    """
    findings: list[Finding] = []
    left = list(seeds)
    while left:
        # What has threads of its own, as an engine has, cannot be forked.
        context = get_context("spawn") if kind in THREADED else get_context("fork")
        ours, its = context.Pipe(duplex=False)
        process = context.Process(target=_read_all, args=(kind, left, most_s, its))
        process.start()
        its.close()
        done = list(_until_closed(ours))
        process.join()
        findings += [Finding(kind, seed, what) for seed, what in done if what]
        left = left[len(done) :]
        if left:
            findings.append(Finding(kind, left[0], f"the process ended with {process.exitcode}"))
            left = left[1:]
    return findings


def _until_closed(connection: Connection) -> Iterator[tuple[int, str]]:
    try:
        while True:
            yield connection.recv()
    except EOFError:
        return


def _read_all(kind: str, seeds: list[int], most_s: float, results: Connection) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MOST_ADDRESSES, resource.RLIM_INFINITY))
    begun = _peak_bytes()
    signal.signal(signal.SIGPROF, _too_long)
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            path = damaged(kind, seed, Path(folder))
            signal.setitimer(signal.ITIMER_PROF, most_s)
            # What never comes back to Python hears no signal there: that ends the process.
            signal.setitimer(signal.ITIMER_VIRTUAL, 2 * most_s)
            what = ""
            try:
                FILES[kind].read(path)
            except UserError:
                pass
            except BaseException:
                what = traceback.format_exc()
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if (grown := _peak_bytes() - begun) > _MOST_BYTES:
            what = what or f"it took {grown >> 20} MB"
            begun += grown
        results.send((seed, what))


def _peak_bytes() -> int:
    """The most that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _too_long(*_: object) -> None:
    raise TimeoutError("it takes too long")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=sorted(FILES))
    args = parser.parse_args()
    end_s, seed, found = time.monotonic() + args.seconds, args.seed, 0
    kinds = [args.kind] if args.kind else sorted(FILES)
    while time.monotonic() < end_s:
        for kind in kinds:
            for finding in read_damaged(kind, range(seed, seed + 50)):
                found += 1
                print(f"{finding.kind}, seed {finding.seed}: {finding.what}", flush=True)
        seed += 50
    print(f"{found} findings in {seed - args.seed} copies of each of {len(kinds)} kinds")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

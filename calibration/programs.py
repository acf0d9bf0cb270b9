"""How a program that does a command's work is started, told to stop, and ends.

Exit codes: 0 done, 1 failed, 2 bad usage or bad input.
"""

import argparse
import atexit
import contextlib
import ctypes
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing import connection
from typing import IO, Any

from calibration.errors import UserError, WriteError, reason_of

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Processes of one program fail alike, but not at once; one that waits for another that has failed is ended.
_FAIL_ALIKE_S, _END_S = 10.0, 30.0
_WHY = {signal.SIGKILL: ", as the system does where memory runs out", signal.SIGBUS: ", as where /dev/shm is full"}
_STARTED_BY, _PR_SET_PDEATHSIG = "USTHAND_STARTED_BY", 1


def run_program(
    command: Sequence[str],
    environments: Sequence[Mapping[str, str]] = ({},),
    given: bytes | None = None,
    stdout: IO[bytes] | int | None = None,
) -> int:
    """Its exit code; the first that is not 0 where it runs in several processes, and 1 where a signal ended it,
    which is said.

    It runs in one process for each of `environments`, which are added to this process's own; `given` is what the
    first reads from its standard input, `stdout` as `subprocess.Popen` takes it. Where this process is told to stop,
    it waits, and tells the program, which is in a session of its own, so that nothing else tells it. Where this process
    is killed, a program of `exit_code` is told to end.

    Raises KeyboardInterrupt where the program was told to stop and has not ended well.
    """
    stdin = None if given is None else subprocess.PIPE
    own = {**os.environ, _STARTED_BY: str(os.getpid())}
    running = [
        subprocess.Popen(command, env={**own, **more}, stdin=stdin, stdout=stdout, start_new_session=True)
        for more in environments
    ]
    told: list[int] = []

    def tell(number: int, _frame: object) -> None:
        told.append(number)
        for child in running:
            child.send_signal(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    here = threading.current_thread() is threading.main_thread()  # the only one that hears signals
    with handled(heard(_STOPS) if here else (), tell):
        if given is not None:
            running[0].communicate(given)
        code = _wait(running)
    if told and code:
        raise KeyboardInterrupt
    if code < 0:
        by = signal.Signals(-code)
        say(f"{command[2]} was ended by {by.name}{_WHY.get(by, '')}")
        return 1
    return code


def heard(numbers: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Those that are not ignored, as nohup has it."""
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


@contextlib.contextmanager
def handled(
    numbers: Iterable[signal.Signals], handler: Callable[[int, Any], object] | signal.Handlers
) -> Iterator[None]:
    """Signals have this handler meanwhile, and then the one before. In the main thread only, unless there are none."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, other in before.items():
            signal.signal(number, other)


def _wait(running: Sequence[subprocess.Popen]) -> int:
    if len(running) == 1:
        code = running[0].wait()
    else:
        while not (code := next((child.returncode for child in running if child.poll()), 0)):
            if all(child.returncode == 0 for child in running):
                return 0
            time.sleep(0.05)
        for end, limit_s in (None, _FAIL_ALIKE_S), (subprocess.Popen.terminate, _END_S), (subprocess.Popen.kill, None):
            _end(running, end, limit_s)
    return code


def _end(
    running: Sequence[subprocess.Popen], end: Callable[[subprocess.Popen], None] | None, limit_s: float | None
) -> None:
    """End those that still run, and wait for them for so long."""
    began = time.monotonic()
    left = [child for child in running if child.poll() is None]
    for child in left:
        if end is not None:
            end(child)
    for child in left:
        try:
            child.wait(None if limit_s is None else max(0.0, began + limit_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            return


def finite(text: str) -> float:
    """An argparse type: a number that is neither infinite nor NaN."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number")
    return value


def say(message: str) -> None:
    """To the user, on standard error."""
    sys.stderr.write(f"usthand: {message}\n")


def end_with_parent(parent: int) -> bool:
    """Have the system tell this process to end when its parent ends, over exec too; False where that one has ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return os.getppid() == parent


def exit_code(work: Callable[[], int], say: Callable[[str], object] = say, place: object = "output") -> int:
    """The exit code of a program: that of its work, or that of what the work raised, which is said in one line.

    `place` is what a failure to write is said of where the system names no file. What tells the program to end, ends
    its work as Ctrl-C does, so that it tidies up.
    """
    ignore_stops_at_end()
    _end_as_by_interrupt()
    # What it starts itself is not to take it for a program of the same starter.
    starter = os.environ.pop(_STARTED_BY, None)
    if starter is not None and not end_with_parent(int(starter)):
        return 1
    try:
        return work()
    except UserError as error:
        say(str(error))
        return 1 if isinstance(error, WriteError) else 2
    except KeyboardInterrupt:
        say("interrupted before it was done")
        return 1
    except BrokenPipeError:
        # Whoever read the output has gone; the interpreter must not try to write the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        say(f"{error.filename or place}: {reason_of(error)}")
        return 1


def _end_as_by_interrupt() -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    numbers = [number for number in _STOPS[1:] if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, _interrupt)
    if not numbers:
        return

    def in_child() -> None:
        for number in numbers:
            if signal.getsignal(number) is _interrupt:  # a fork's work is no program's: it ends at once
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    # Python forgets what a process is told while it is being forked, so it is told afterwards.
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, numbers),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers),
        after_in_child=in_child,
    )


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def ignore_stops_at_end() -> None:
    """What is told to stop again while its interpreter ends has done its work, and its exit code is to say so.

    The interpreter gives signals back to the system as it ends, which would end the process by the signal.
    """
    atexit.register(_ignore_stops)


def _ignore_stops() -> None:
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)


def join_pool() -> None:
    """How a process of a pool begins: it leaves the terminal's interrupt to the first process, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_first, daemon=True).start()


def _end_with_first() -> None:
    """A pool's processes do not see that their parent was killed: they would go on with what it had given them."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)

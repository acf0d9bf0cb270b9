"""Programs that do a command's work: how their exit codes come back, and what they are told."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from calibration.errors import UserError
from calibration.programs import exit_code, run_program


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_exit_code_is_the_programs_and_a_signal_is_said(capsys: Any) -> None:
    assert run_program(python("raise SystemExit(0)")) == 0
    assert run_program(python("raise SystemExit(7)")) == 7
    assert capsys.readouterr().err == ""
    assert run_program(python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")) == 1
    assert "was ended by SIGKILL, as the system does where memory runs out" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_program_that_is_told_to_stop_while_its_interpreter_ends_keeps_its_exit_code(number: int) -> None:
    """As at a second Ctrl-C: it has handlers of its own, which the interpreter has given back by then."""
    code = (
        "import os, signal, sys\nfrom calibration.programs import exit_code\n"
        f"class Late:\n    def __del__(self, kill=os.kill, me=os.getpid()): kill(me, {number})\n"
        f"signal.signal({number}, lambda *_: None)\nlate = Late()\nsys.exit(exit_code(lambda: 3))"
    )
    assert subprocess.run(python(code), check=False).returncode == 3


def test_a_program_reads_what_it_is_given(tmp_path: Path) -> None:
    code = "import sys, pathlib, os; pathlib.Path(os.environ['OUT']).write_bytes(sys.stdin.buffer.read())"
    assert run_program(python(code), [{"OUT": str(tmp_path / "out")}], given=b"some bytes") == 0
    assert (tmp_path / "out").read_bytes() == b"some bytes"


def test_of_several_processes_the_one_that_fails_gives_the_code_and_none_is_left(monkeypatch) -> None:
    monkeypatch.setattr("calibration.programs._FAIL_ALIKE_S", 0.1)
    code = "import os, sys, time\nif os.environ['RANK'] == '1':\n    sys.exit(2)\ntime.sleep(600)"
    assert run_program(python(code), [{"RANK": "0"}, {"RANK": "1"}, {"RANK": "2"}]) == 2
    assert run_program(python("pass"), [{}, {}]) == 0


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, signal.SIGINT), (signal.SIGHUP, signal.SIGTERM)])
def test_what_this_process_is_told_the_program_is_told(tmp_path: Path, number: int, expected: int) -> None:
    """It notes the signal and ends well; before and after, the handlers are this process's own."""
    code = (
        "import os, pathlib, signal, sys\n"
        "note = lambda number, _: (pathlib.Path(os.environ['OUT']).write_text(str(number)), sys.exit(0))\n"
        "signal.signal(signal.SIGINT, note)\nsignal.signal(signal.SIGTERM, note)\n"
        "os.write(int(os.environ['READY']), b'x')\nsignal.pause()"
    )
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    before = signal.signal(number, lambda *_: pytest.fail("told too late"))
    ready = threading.Thread(target=lambda: (os.read(read_end, 1), os.kill(os.getpid(), number)))
    ready.start()
    try:
        popen = subprocess.Popen
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(subprocess, "Popen", lambda *a, **k: popen(*a, **k, pass_fds=[write_end]))
            environment = {"OUT": str(tmp_path / "told"), "READY": str(write_end)}
            assert run_program(python(code), [environment]) == 0
        ready.join()
    finally:
        signal.signal(number, before)
    assert (tmp_path / "told").read_text() == str(int(expected))


def test_a_program_ends_when_the_process_that_started_it_is_killed() -> None:
    """It tidies up: a training that went on would write into a folder that the next one has."""
    work = (
        "import os, sys, time\nfrom calibration.programs import exit_code\n"
        "def work():\n"
        "    try:\n        print(os.getpid(), flush=True)\n        time.sleep(600)\n"
        "    finally:\n        print('tidied', flush=True)\n"
        "sys.exit(exit_code(work))"
    )
    start = f"from calibration.programs import run_program\nrun_program({python(work)!r})"
    starter = subprocess.Popen(python(start), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert starter.stdout is not None
    number = int(starter.stdout.readline())
    program = psutil.Process(number)
    starter.kill()
    try:
        program.wait(60)
        assert starter.stdout.read() == "tidied\n"
    finally:
        if program.is_running():
            program.kill()
        starter.wait()


def test_a_program_that_begins_after_its_starter_was_killed_does_nothing() -> None:
    """As a training does: the import of torch takes seconds."""
    begin = (
        "import os, sys, time\nfrom calibration.programs import exit_code\n"
        "starter = os.getppid()\nprint('begun', flush=True)\n"
        "while os.getppid() == starter:\n    time.sleep(0.01)\n"
        "sys.exit(exit_code(lambda: print('worked', flush=True)))"
    )
    start = f"from calibration.programs import run_program\nrun_program({python(begin)!r})"
    with subprocess.Popen(python(start), stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None and starter.stdout.readline() == "begun\n"
        starter.kill()
        assert starter.stdout.read() == ""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("`--x 3`: give 4."), 2, "`--x 3`: give 4."),
        (OSError(28, "No space left on device", "out.npz"), 1, "out.npz: No space left on device"),
        (OSError(28, "No space left on device"), 1, "output: No space left on device"),
        (KeyboardInterrupt(), 1, "interrupted before it was done"),
    ],
)
def test_what_the_work_raises_is_said_in_one_line(error: BaseException, code: int, said: str) -> None:
    def work() -> int:
        raise error

    lines: list[str] = []
    assert exit_code(work, lines.append) == code
    assert lines == [said]
    assert exit_code(lambda: 5, lines.append) == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_program_that_is_told_to_end_tidies_up_and_says_so(number: int) -> None:
    code = (
        "import signal, sys, time\nfrom calibration.programs import exit_code\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored\n"
        "def work():\n"
        "    try:\n        print('begun', flush=True)\n        time.sleep(600)\n"
        "    finally:\n        print('tidied', flush=True)\n"
        "sys.exit(exit_code(work))"
    )
    program = subprocess.Popen(python(code), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stdout is not None and program.stdout.readline() == "begun\n"
    program.send_signal(number)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out, err) == (1, "tidied\n", "usthand: interrupted before it was done\n")


def test_what_a_program_forked_ends_at_once_when_it_is_told_to() -> None:
    code = (
        "import os, signal, sys, time\nfrom calibration.programs import exit_code\n"
        "def work():\n"
        "    child = os.fork()\n"
        "    if not child:\n        time.sleep(600)\n"
        "    os.kill(child, signal.SIGTERM)\n"
        "    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "sys.exit(exit_code(work) + 5)"
    )
    done = subprocess.run(python(code), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == ((5 - signal.SIGTERM) % 256, "")

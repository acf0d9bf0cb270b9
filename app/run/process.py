"""What every process of a run does first: logging, signals, and ending with its parent."""

import argparse
import contextlib
import errno
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from app.run.logs import LogLine, add_log_file, log_level
from app.run.pulse import explain_on_request, guard, pulse
from app.run.settings import RunFolder, RunSettings
from calibration.errors import UserError, WriteError, is_full
from calibration.found_files import remove_folder
from calibration.programs import end_with_parent, ignore_stops_at_end
from calibration.rig import Rig

log = logging.getLogger(__name__)

# More than connections of others, cameras and rings take, where the machine allows it; 1024 are not.
_DESCRIPTORS = 65_536

stop = threading.Event()
"""Set when this process is asked to end."""


def start_process(name: str) -> None:
    """Set up logging to standard error and into `NAME.log`, and the signals that ask the process to end."""
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(LogLine(f"%(asctime)s {name.replace('%', '%%')} %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=log_level(), handlers=[terminal], force=True)
    add_log_file(name)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, lambda *_: stop.set())


def _allow_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _DESCRIPTORS)), hard))


def process_parser() -> argparse.ArgumentParser:
    """Of what the supervisor tells every process of a run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("parent", type=int)
    return parser


def run_process(name: str, args: argparse.Namespace, work: Callable[[RunFolder, Rig, RunSettings], int]) -> int:
    """A process's work for a run; returns its exit code, 2 after a UserError, which is logged.

    It is asked to end when its parent ends, however that happens, and ended where it does not; orphans remove the
    run's folder. 1 after a WriteError.
    """
    start_process(name)
    _allow_descriptors()
    ignore_stops_at_end()
    explain_on_request()
    if not end_with_parent(args.parent):
        stop.set()
    folder = RunFolder(args.folder)
    guard(args.parent, lambda: remove_folder(folder.path))
    try:
        with contextlib.suppress(OSError):  # where the folder is gone already, so is the supervisor
            pulse.open(folder.pulse(os.getpid()))
        return work(folder, *folder.read())
    except WriteError as error:
        log.error("%s", error)
        return 1
    except UserError as error:
        log.error("%s", error)
        return 2
    except OSError as error:
        if not is_full(error) and error.errno != errno.EROFS:
            raise
        log.error("%s: %s", error.filename or "a file", error.strerror)
        return 1
    finally:
        if os.getppid() != args.parent:
            remove_folder(folder.path)

"""What every process of a run does first: logging, signals, and ending with its parent."""

import argparse
import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from app.run.settings import RunFolder, RunSettings
from calibration.errors import UserError
from calibration.found_files import remove_folder
from calibration.rig import Rig

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1

stop = threading.Event()
"""Set when this process is asked to end."""


def start_process(name: str) -> None:
    """Set up logging to standard error, and the signals that ask the process to end."""
    logging.basicConfig(
        level=os.environ.get("USTHAND_LOG", "INFO"),
        format=f"%(asctime)s {name} %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())


def process_parser() -> argparse.ArgumentParser:
    """Of what the supervisor tells every process of a run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("parent", type=int)
    return parser


def run_process(name: str, args: argparse.Namespace, work: Callable[[RunFolder, Rig, RunSettings], int]) -> int:
    """A process's work for a run; returns its exit code, 2 after a UserError, which is logged.

    It is asked to end when its parent ends, however that happens; orphans remove the run's folder.
    """
    start_process(name)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != args.parent:
        stop.set()
    folder = RunFolder(args.folder)
    try:
        return work(folder, *folder.read())
    except UserError as error:
        log.error("%s", error)
        return 2
    finally:
        if os.getppid() != args.parent:
            remove_folder(folder.path)

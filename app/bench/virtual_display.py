"""A display of Xvfb's own, on which windows are measured and tested the same everywhere."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from calibration.errors import UserError

_ENDS_S = 30


@contextlib.contextmanager
def virtual_display(folder: Path | None = None) -> Iterator[str]:
    """Its name, like `:1`, of 1280x720 pixels; its picture is in `folder`/Xvfb_screen0 where a folder is given.

    Raises UserError where Xvfb is not installed.
    """
    read_end, write_end = os.pipe()
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1280x720x24", "-nolisten", "tcp", "-noreset"]
    if folder is not None:
        command += ["-fbdir", str(folder)]
    with os.fdopen(read_end) as pipe:
        try:
            process = subprocess.Popen(
                command, pass_fds=[write_end], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        except FileNotFoundError:
            raise UserError("`Xvfb`, a display without a screen, is not there: apt-get install xvfb") from None
        finally:
            os.close(write_end)
        number = pipe.readline().strip()
    try:
        yield f":{number}"
    finally:
        process.terminate()
        process.wait(_ENDS_S)

"""Rerun's own viewer: one that runs already, or one that is started here.

Its server would listen to the whole network, and it reports its use to its makers: both are switched off in one that
is started here.
"""

import contextlib
import json
import os
import socket
import subprocess
import uuid
from pathlib import Path

import rerun_cli

from calibration.cached_folder import user_cache
from calibration.errors import UserError

PORT = 9876
URL = f"rerun+http://127.0.0.1:{PORT}/proxy"
_MEMORY = "2GB"
_PROBE_S = 0.2


class RerunViewer:
    """Rerun's viewer at its usual port. Raises UserError where none can be started."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        if not listens():
            self._process = subprocess.Popen(
                [
                    str(Path(rerun_cli.__file__).parent / "rerun"), "--port", str(PORT), "--bind", "127.0.0.1",
                    "--memory-limit", _MEMORY, "--hide-welcome-screen", "--expect-data-soon",
                ],
                env={**os.environ, "XDG_CONFIG_HOME": str(_quiet_config())},
                stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def started(self) -> bool:
        """Whether it can be sent to. Raises UserError where it ended instead."""
        if listens():
            return True
        if self._process is None or self._process.poll() is not None:
            raise UserError(
                "Rerun's viewer could not be started; it needs a screen and a graphics driver. Give `--view FILE.rrd` "
                "to write a file for it."
            )
        return False

    @property
    def closed(self) -> bool:
        return self._process.poll() is not None if self._process is not None else not listens()


def listens() -> bool:
    """Whether a viewer listens on this host."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.settimeout(_PROBE_S)
        probe.connect(("127.0.0.1", PORT))
        return True
    return False


def _quiet_config() -> Path:
    """A folder with Rerun's settings in which it reports nothing. Its own settings of windows lie elsewhere."""
    folder = user_cache() / "rerun-config"
    file = folder / "rerun" / "analytics.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        data = user_cache() / "rerun-analytics"
        file.write_text(
            json.dumps(
                {
                    "analytics_enabled": False,
                    "analytics_id": uuid.UUID(int=0).hex,
                    "metadata": {},
                    "config_file_path": str(file),
                    "data_dir_path": str(data),
                }
            )
        )
    return folder

"""A run: its private folder, and the settings that its processes share.

The folder holds `rig.yaml`, `run.yaml`, the ZeroMQ sockets and `summary.json`. It is readable by its owner only, and
removed at the end; folders of runs that were killed are removed by the next one.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Literal, get_args

import msgspec

from app.run.policy import LivePolicy, Policy
from app.run.record_settings import RecordSettings
from app.transport.sockets import ipc_address
from calibration.rig import Rig, read_rig, write_rig
from calibration.yamlfile import read_yaml, write_yaml

Overlap = Literal["auto", "on", "off"]
OVERLAP: tuple[Overlap, ...] = get_args(Overlap)
MOST_HANDS = 8
_PREFIX = "usthand-"
# The kernel takes socket paths of up to 107 bytes.
_LONGEST_BASE = 60
_YOUNG_S = 60.0


class RunSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """What the processes of a run have to know, beside the rig.

    `policy` is what tells live use and replay apart. `sets` ends the run after so many,
    and it takes one of `every` so many. `poses` is where replay writes
    them. `listen` is where remote grabbers connect, `publish` where the poses are published besides the run's folder,
    `events` where what happens is, `keys` the folder of CURVE keys. `wizard` is the folder of captures of a run that
    calibrates: its frame sets go to the calibration wizard instead of the worker; `touch` is that of a touch test,
    likewise, and `latency` the seconds for which the cameras' latency is measured, by the LED `latency_led` where there
    is one. `mesh` has a hand mesh fitted to every pose. `overlap`: whether a set is finished in one thread while the
    next one begins in another, where the policy lets it. `checkpoint`, or an engine directory, is that of the estimator
    `ust-hand`; `engine` runs its network, or those of `mediapipe`. `detector` is a user's own, see docs/detectors.md.
    `hands` are followed at most. `record`: what of it is recorded. `streams` are the addresses that hands are sent to,
    `predict_ms` is how far ahead they are forecast besides, 0 for not at all. `body`: whether arms are looked for.
    """

    estimator: str
    policy: Policy = LivePolicy()
    sets: int | None = None
    every: int = 1
    poses: str | None = None
    listen: str | None = None
    publish: str | None = None
    events: str | None = None
    keys: str | None = None
    phases_ns: dict[str, int] | None = None
    estimate_offsets: bool = False
    wizard: str | None = None
    touch: str | None = None
    latency: float | None = None
    latency_led: str | None = None
    seed: int = 0
    mesh: bool = True
    checkpoint: str = "shipped"
    engine: str = "auto"
    detector: str | None = None
    hands: int = 2
    overlap: Overlap = "auto"
    record: RecordSettings | None = None
    streams: list[str] = []
    predict_ms: float = 0.0
    body: bool = False


class RunFolder:
    """Names inside a run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.rig = self.path / "rig.yaml"
        self.settings = self.path / "run.yaml"
        self.summary = self.path / "summary.json"
        self.progress = self.path / "progress"
        self.view = self.path / "view.json"
        self.poses_address = ipc_address(self.path / "poses")
        self.events_address = ipc_address(self.path / "events")
        self.pace_address = ipc_address(self.path / "pace")
        self.replay_address = ipc_address(self.path / "replay")
        self.recording = self.path / "recording.json"
        self.viewing = self.path / "viewer.json"
        self.recording_address = ipc_address(self.path / "recording")
        self.control_address = ipc_address(self.path / "control")

    def pulse(self, pid: int) -> Path:
        """The signs of life of the process."""
        return self.path / f"pulse-{pid}"

    def begun(self, process: str) -> Path:
        """There as soon as the worker knows of every camera, or the viewer has drawn its first picture."""
        return self.path / f"{process}.begun"

    @property
    def viewer_stays(self) -> Path:
        """There while the viewer still shows what it keeps of a replay that has ended."""
        return self.path / "viewer.stays"

    def frames_address(self, camera_id: str) -> str:
        return ipc_address(self.path / f"frames-{camera_id}")

    def packets_address(self, camera_id: str) -> str:
        """Where a camera's own packets are, for a recording that copies them."""
        return ipc_address(self.path / f"packets-{camera_id}")

    def read(self) -> tuple[Rig, RunSettings]:
        return read_rig(self.rig), read_yaml(self.settings, RunSettings)


@contextlib.contextmanager
def run_folder(rig: Rig, settings: RunSettings):
    """Make a run's folder with its files; yields RunFolder. Removed at the end, and with it all sockets."""
    base = socket_base()
    _sweep(base)
    path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getuid()}-", dir=base))
    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        folder = RunFolder(path)
        write_rig(folder.rig, rig)
        write_yaml(folder.settings, settings)
        yield folder
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def run_folders() -> list[Path]:
    """Those of this user's runs, which may have ended."""
    found = {path for base in _bases() for path in base.glob(f"{_PREFIX}{os.getuid()}-*")}
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def socket_base() -> Path:
    """Where folders with sockets in them can be made: it may be written to, and its name is short enough."""
    bases = _bases()
    fitting = (base for base in bases if os.access(base, os.W_OK) and len(os.fsencode(base)) <= _LONGEST_BASE)
    return next(fitting, bases[-1])


def _bases() -> list[Path]:
    return [Path(base) for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp") if base]


def _sweep(base: Path) -> None:
    """Remove folders of runs whose processes are all gone: nobody holds their lock."""
    for path in base.glob(f"{_PREFIX}{os.getuid()}-*"):
        with contextlib.suppress(OSError):
            # Anybody may have put a link or a FIFO of that name there, and a FIFO would be waited for.
            handle = os.open(path, os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                # One that is being made is not locked yet.
                if time.time() - os.fstat(handle).st_mtime < _YOUNG_S:
                    continue
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(handle)

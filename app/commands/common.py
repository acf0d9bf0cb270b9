"""What several commands share: flags, running a rig, and printing what came of it."""

import argparse
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.commands.stream_flags import add_stream_flags, stream_settings
from app.commands.subcommand import add_command as add_command
from app.estimators import ESTIMATORS
from app.estimators.detectors.user_settings import read_user_settings
from app.run.process import start_process, stop
from app.run.settings import MOST_HANDS, OVERLAP, RunSettings
from app.run.supervisor import Outcome, Supervisor, ViewerSettings
from app.run.view_choice import CHOICES, free_port, view_choice
from app.sources import make_source
from app.sources.same_camera import check_cameras_differ
from app.transport.sockets import check_listen, is_loopback
from app.viewer.display import check_screen
from app.viewer.palette import THEMES
from calibration.camera_source import RecordedSource
from calibration.errors import UserError, pasted
from calibration.rig import Rig
from calibration.written_files import check_can_write
from deploy.artefact.cached_export import cached_export
from deploy.engines import ENGINES, check_engine
from deploy.image_engines import check_image_engine
from models.weights import checkpoint_path

log = logging.getLogger(__name__)


def add_estimator_flags(parser: argparse.ArgumentParser, default: str = "mediapipe") -> None:
    parser.add_argument("--estimator", choices=ESTIMATORS, default=default, help="default: %(default)s")
    hands = range(1, MOST_HANDS + 1)
    parser.add_argument("--hands", type=int, choices=hands, default=2, metavar="N", help="at most, 1 to 8 (default: 2)")
    parser.add_argument(
        "--checkpoint",
        default="shipped",
        metavar="C",
        help="of the estimator ust-hand: a file, a directory of `usthand export`, or `shipped` (default)",
    )
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="what runs ust-hand's network, or mediapipe's hand detection (default: %(default)s)",
    )


def add_detector_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--detector",
        type=Path,
        metavar="FILE.onnx",
        help="a 21-keypoint network of your own, described in FILE.yaml (docs/detectors.md)",
    )


def add_body_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--body",
        action="store_true",
        help="also the arms: elbow and shoulder of each hand, and the wrist's angles (docs/body.md)",
    )


def body_of(args: argparse.Namespace) -> bool:
    """Whether arms are looked for. Raises UserError where there are none to be seen."""
    if args.body and args.estimator == "simulated":
        raise UserError("`--body`: the estimator simulated looks at no image. Leave one of the two out.")
    return args.body


def detector_of(args: argparse.Namespace) -> str | None:
    """The detector that the flags name, as other processes find it. Raises UserError where it cannot be one."""
    if args.detector is None:
        return None
    if args.estimator == "simulated":
        raise UserError("`--detector`: the estimator simulated looks at no image. Leave one of the two out.")
    read_user_settings(args.detector)
    return str(args.detector.resolve())


def add_overlap_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overlap",
        choices=OVERLAP,
        default="auto",
        help="finish a set (transformer, mesh) beside the beginning of the next: with more than two cores (auto)",
    )


def checkpoint_of(args: argparse.Namespace) -> str:
    """The checkpoint or engine directory that the flags name, as other processes find it.

    A checkpoint that the estimator needs is exported first for the engines that run what `export` makes without more
    flags, if it never was and can be.

    Raises UserError where there is none, or it is none for the engine that the flags name.
    """
    path = checkpoint_path(args.checkpoint).resolve()  # `shipped` is no folder of that name
    if not path.exists():
        raise UserError(
            f"`--checkpoint {args.checkpoint}`: there is no such file. Give one that `usthand train` wrote, "
            "or a directory of `usthand export`."
        )
    if not (path.is_file() or path.is_dir()):
        raise UserError(
            f"`--checkpoint {args.checkpoint}`: a device or a pipe, expected a file that `usthand train` wrote, or a "
            "directory of `usthand export`. Copy it into a file."
        )
    source = args.checkpoint if args.checkpoint == "shipped" else str(path)
    if args.estimator == "mediapipe":
        check_image_engine(args.engine)
    if args.estimator == "ust-hand" and path.is_file() and args.engine not in ("torch", "tensorrt"):
        source = str(cached_export(source) or source)
    check_engine(source, args.engine if args.estimator == "ust-hand" else "auto")
    return source


def run_settings(args: argparse.Namespace, **more: Any) -> RunSettings:
    """From the flags that `live`, `demo` and `replay` share; `more` are further fields. Raises UserError."""
    check_publish(args.publish)
    check_publish(args.events, "--events")
    return RunSettings(
        estimator=args.estimator,
        checkpoint=checkpoint_of(args),
        engine=args.engine,
        hands=args.hands,
        publish=args.publish,
        events=args.events,
        mesh=args.mesh,
        **stream_settings(args),
        **more,
    )


def add_view_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--view", metavar="VIEW", help=f"{CHOICES} (docs/views.md; default: window)")
    parser.add_argument("--no-viewer", action="store_false", dest="viewer", help="no window and no video")
    parser.add_argument("--headless", type=Path, metavar="OUT.mp4", help="render into a video, without a screen")
    parser.add_argument("--snapshot", type=Path, metavar="OUT.png", help="write a picture of the last view")
    parser.add_argument("--theme", choices=THEMES, default="dark", help="of the viewer (%(default)s)")
    parser.add_argument("--seconds", type=positive, metavar="N", help="end N seconds after the first picture")
    parser.add_argument("--no-mesh", action="store_false", dest="mesh", help="fit no hand mesh: joints only")
    parser.add_argument(
        "--publish", metavar="ADDRESS", help="publish the poses there too, on this host: tcp://127.0.0.1:PORT"
    )
    parser.add_argument(
        "--events",
        metavar="ADDRESS",
        help="publish what happens there, apart: cameras' states, hands that come and go, gestures",
    )
    add_stream_flags(parser)


def positive(text: str) -> float:
    """An argparse type: a number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above zero")
    return value


def file_name(text: str) -> Path:
    """An argparse type: the name of a file."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the file is empty")
    return Path(text)


def check_publish(address: str | None, flag: str = "--publish") -> None:
    """Raises UserError for an address that other hosts can reach, that is none, or that is in use."""
    if address is not None and not is_loopback(address):
        raise UserError(f"`{flag} {address}`: poses are published on this host only. Give tcp://127.0.0.1:PORT.")
    if address is not None:
        check_listen(address)


def check_live_rig(rig: Rig, path: Path, or_recorded: bool = False) -> None:
    """Raises UserError unless every camera on this host can be opened as a live one, `or_recorded` as a recording."""
    check_cameras_differ(rig)
    for camera in rig.cameras:
        if camera.source is None:
            raise UserError(
                f"{path}: camera `{camera.camera_id}` has no `source`, so it cannot be opened. "
                "`usthand cameras` prints one to paste for each camera it finds."
            )
        if isinstance(camera.source, RecordedSource) and not or_recorded:
            raise UserError(
                f"{path}: camera `{camera.camera_id}` is a recording. Play it with `usthand replay "
                f"{pasted(camera.source.session)}`."
            )
        if not camera.remote:
            make_source(camera, rig)


def viewer_settings(args: argparse.Namespace, title: str) -> ViewerSettings | None:
    """From the view flags. Raises UserError where they contradict each other, a path cannot be written, or there is no
    screen for a window."""
    if not args.viewer:
        if args.headless or args.snapshot or args.view:
            raise UserError(
                "`--no-viewer` renders nothing, so `--headless`, `--snapshot` and `--view` cannot go with it."
            )
        return None
    choice = view_choice(args.view or "window")
    if choice.kind != "window" and (args.headless or args.snapshot):
        raise UserError(f"`--view {args.view}`: `--headless` and `--snapshot` are of the window. Leave them out.")
    if choice.port is not None:
        free_port(choice.host, choice.port)
    check_output(choice.file, ".rrd")
    for path, ending in ((args.headless, ".mp4"), (args.snapshot, ".png")):
        check_output(path, ending)
    if choice.kind != "window" and args.theme != "dark":
        raise UserError(f"`--view {args.view}`: `--theme` is of the window. Leave it out.")
    if choice.kind == "window" and not args.headless and not getattr(args, "pictures", None):
        check_screen()
    headless, snapshot = (path and path.resolve() for path in (args.headless, args.snapshot))
    return ViewerSettings(headless=headless, snapshot=snapshot, title=title, choice=choice, theme=args.theme)


def check_output(path: Path | None, ending: str) -> None:
    """Raises UserError where a file of that name cannot be made."""
    if path is None:
        return
    if path.suffix.lower() != ending:
        raise UserError(f"`{path}`: the name must end in `{ending}`.")
    check_can_write(path, f"`{path}`")


def run_rig(
    rig: Rig,
    settings: RunSettings,
    viewer: ViewerSettings | None,
    seconds: float | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Run a rig under the supervisor in this process, with its signals."""
    start_process("usthand")
    if stop.is_set():
        return Outcome(1)
    outcome = Supervisor(rig, settings, viewer, on_progress=on_progress).run(seconds)
    cameras = outcome.summary.get("cameras", {})
    if outcome.exit_code == 0 and settings.policy.restarts and cameras and _all_down(cameras, rig):
        told = ", ".join(f"{camera_id} {camera['state']}" for camera_id, camera in cameras.items())
        log.error("at the end of the run no camera delivered: %s. What is said of each above tells why.", told)
        outcome = Outcome(1, outcome.summary)
    for path in (viewer.file, viewer.snapshot) if viewer else ():
        if outcome.exit_code == 0 and path is not None and not path.exists():
            log.error("%s was not made: the run ended before there was a picture. Give it more time.", path)
            return Outcome(1, outcome.summary)
    return outcome


def _all_down(cameras: dict[str, dict], rig: Rig) -> bool:
    """A remote camera that has yet to begin never came, as with wrong keys; one of this host may be about to."""
    down = ("lost", "failed", "stalled")
    return all(
        camera["state"] in (*down, "starting") if rig[camera_id].remote else camera["state"] in down
        for camera_id, camera in cameras.items()
    )


def report(outcome: Outcome, as_json: bool, in_time: bool = True) -> int:
    """Print a run's summary; returns its exit code. Where frames do not come `in_time`, their latency tells nothing."""
    if not outcome.summary:
        log.error("there is nothing to report: the run ended before its worker had started")
        return outcome.exit_code or 1
    _print_summary(outcome.summary, in_time)
    if as_json:
        print(json.dumps(outcome.summary))
    return outcome.exit_code


def _print_summary(summary: dict, in_time: bool) -> None:
    latency = summary["latency_ms"]
    sets = summary["frame_sets"]
    print(f"{sets} frame sets, {summary['sets_with_hand']} with a hand, {summary['sets_with_both_hands']} with both")
    if sets:
        late = f", latency {latency['p50']} ms (p99 {latency['p99']} ms) from grab to pose"
        print(f"{summary['fps']} sets/s{late if in_time else ''}")
    photon = summary.get("photon_to_pose_ms")
    if photon:
        light = summary["photon_to_pose_parts_ms"]["light"]
        print(f"photon to pose {photon['p50']} ms (p99 {photon['p99']} ms), {light} ms of it from light to grab")
    if summary["detections"]:
        print(
            f"reprojection {summary['reprojection_px_median']} px, "
            f"leave-one-out {summary['leave_one_out_px_median']} px (medians), "
            f"{summary['detections_used']} of {summary['detections']} detections used"
        )
    if summary.get("mpjpe_mm") is not None:
        print(f"against the simulation's truth: {summary['mpjpe_mm']} mm mean joint error")
    for note in summary["notes"]:
        print(f"note: {note}")
    for camera_id, counts in summary["cameras"].items():
        print(f"  {camera_id}: " + ", ".join(f"{name} {value}" for name, value in counts.items()))
    if summary.get("time_offsets_ms"):
        print("time offsets, for `time_offset` in rig.yaml (seconds):")
        for camera_id, offset in summary["time_offsets_ms"].items():
            print(f"  {camera_id}: {offset / 1e3:.4f}")
    if summary.get("poses"):
        print(f"poses: {summary['poses']}")

"""`usthand record`: the cameras of a rig into a session, without looking for hands."""

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

import msgspec

from app.commands.common import add_command, check_live_rig, positive, run_rig
from app.commands.record_flags import add_record_flags, record_settings
from app.run.settings import RunSettings
from app.run.supervisor import Outcome
from calibration.errors import UserError, pasted
from calibration.rig import Rig, read_rig, read_uncalibrated_rig, rig_file
from calibration.yamlfile import read_yaml

log = logging.getLogger(__name__)


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "record",
        run,
        "record the cameras of a rig, calibrated or not, into a session",
        "  usthand record rig.yaml session/                     until Ctrl-C\n"
        "  usthand record rig.yaml session/ --seconds 60 --lossless\n"
        "  usthand record rig.yaml session/ --copy              the cameras' own MJPEG or H.264, not encoded again\n"
        "  usthand record rig.yaml takes/ --takes --pre-roll 3 --control tcp://127.0.0.1:5557\n"
        "  usthand live rig.yaml --record session/              with the poses",
    )
    parser.add_argument("rig", type=Path, help="rig.yaml, or a folder with one")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the session to make; with --takes, their folder")
    parser.add_argument("--seconds", type=positive, metavar="N", help="end after N seconds")
    add_record_flags(parser)


def run(args: argparse.Namespace) -> int:
    rig, calibrated = _read(args.rig)
    check_live_rig(rig, args.rig)
    remote = [camera.camera_id for camera in rig.cameras if camera.remote]
    if remote:
        raise UserError(
            f"{args.rig}: on other machines: {', '.join(remote)}. `usthand live {pasted(args.rig)} --listen ADDRESS "
            "--record DIR` records cameras of other machines."
        )
    record = msgspec.structs.replace(record_settings(args, rig, args.folder), alone=True, calibrated=calibrated)
    settings = RunSettings(estimator="", record=record)
    return _report(run_rig(rig, settings, None, args.seconds), args)


def _read(path: Path) -> tuple[Rig, bool]:
    """The rig, and whether it is calibrated."""
    try:
        return read_rig(path), True
    except UserError as error:
        rig = read_uncalibrated_rig(path)
        file = rig_file(path)
        if any("T_cam_world" in entry for entry in read_yaml(file, dict)["cameras"]):
            raise error from None
        return replace(rig, time_offsets_known=False), False


def _report(outcome: Outcome, args: argparse.Namespace) -> int:
    recording = outcome.summary.get("recording")
    if recording is None:
        log.error("nothing was recorded: the run ended before its recorder had started")
        return outcome.exit_code or 1
    print_recording(recording)
    if args.json:
        print(json.dumps(recording))
    if not args.takes and not any(take["frames"] for take in recording["takes"]):
        doctor = f"usthand doctor --rig {pasted(args.rig)}"
        log.error("no camera delivered a frame: nothing was recorded. `%s` tries them.", doctor)
        return outcome.exit_code or 1
    return outcome.exit_code


def print_recording(recording: dict) -> None:
    for take in recording["takes"]:
        print(f"{take['session']}: {take['frames']} frames, {take['dropped']} dropped, {take['bytes'] / 1e6:.1f} MB")
        for camera_id, counts in take["cameras"].items():
            print(f"  {camera_id}: frames {counts['frames']}, dropped {counts['dropped']}")
    if recording["problem"]:
        print(f"ended early: {recording['problem']}")
    if len(recording["takes"]) == 1 and recording["takes"][0]["frames"]:
        print(f"Play it with: usthand replay {pasted(recording['takes'][0]['session'])}")

"""`usthand label`: the hands in a session's images, judged by all views, as labels to train on."""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from app.commands.common import add_command, checkpoint_of
from app.labelling.label_overlay import write_overlay
from app.labelling.label_session import label_session
from app.labelling.label_sources import LabelSources
from app.labelling.openpose import OpenPoseFolder, openpose_folders
from app.run.settings import MOST_HANDS
from calibration.errors import UserError
from calibration.hand import Definition
from calibration.session import Session, check_session

log = logging.getLogger(__name__)


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "label",
        run,
        "write labels.npz of recorded sessions: every hand of every view, judged by the other views",
        "  usthand label session/\n  usthand label session/ --overlay labels.mp4\n"
        "  usthand label monday/ tuesday/ --detector hand.onnx --json\n"
        "  usthand label session/ --from openpose json/",
    )
    parser.add_argument("sessions", type=Path, nargs="+", metavar="SESSION", help="recorded sessions")
    parser.add_argument(
        "--detector",
        default="mediapipe",
        metavar="mediapipe|ust-hand|FILE.onnx",
        help="who looks for hands; a network of your own is described in FILE.yaml (docs/detectors.md)",
    )
    parser.add_argument(
        "--from",
        nargs=2,
        dest="given",
        metavar=("openpose", "DIR"),
        help="take the hands from OpenPose's JSON folders, one a camera; of several sessions, from DIR/SESSION each",
    )
    parser.add_argument("--checkpoint", default="shipped", metavar="C", help="of the detector ust-hand (%(default)s)")
    hands = range(1, MOST_HANDS + 1)
    parser.add_argument("--hands", type=int, choices=hands, default=2, metavar="N", help="at most, 1 to 8 (default: 2)")
    parser.add_argument(
        "--definition", choices=get_args(Definition), help="where the points lie, see docs/labels.md (default: known)"
    )
    parser.add_argument("--overlay", type=Path, metavar="OUT.mp4", help="show the labels in the pictures")


def run(args: argparse.Namespace) -> int:
    _check(args)
    sessions = [check_session(path) for path in args.sessions]
    folders = openpose_folders(Path(args.given[1]), sessions) if args.given else None
    sets = sum(max(len(each.frame_times_ns(name)) for name in each.camera_ids) for each in sessions)
    with _sources(args, folders) as sources, tqdm(total=sets, unit="set", file=sys.stderr, disable=None) as bar:
        summaries = [_label(session, sources, bar, alone=len(sessions) == 1) for session in sessions]
    for summary in summaries:
        _print(summary)
    failed = any("error" in summary for summary in summaries)
    if args.overlay:
        with tqdm(total=sets, unit="set", desc="overlay", file=sys.stderr, disable=None) as bar:
            pictures = write_overlay(sessions[0], args.overlay, bar.update)
        print(f"{args.overlay}: {pictures} pictures")
    if args.json:
        print(json.dumps({"sessions": summaries, "overlay": str(args.overlay) if args.overlay else None}))
    return 2 if failed else 0


def _label(session: Session, sources: LabelSources, bar: tqdm, alone: bool) -> dict[str, Any]:
    """A session's summary. Of several, one that cannot be labelled does not end the others."""
    try:
        return label_session(session, sources.source_of(session), bar.update)
    except KeyboardInterrupt:
        log.info("%s: interrupted; the same command goes on where it was", session.path)
        raise
    except UserError as error:
        if alone:
            raise
        log.error("usthand: %s", error)
        return {"session": str(session.path), "error": str(error)}


def _sources(args: argparse.Namespace, folders: dict[Path, OpenPoseFolder] | None) -> LabelSources:
    if args.detector != "ust-hand" and args.checkpoint != "shipped":
        raise UserError("`--checkpoint` is of `--detector ust-hand`. Leave one of the two out.")
    checkpoint = None
    if args.detector == "ust-hand":
        wanted = argparse.Namespace(estimator="ust-hand", checkpoint=args.checkpoint, engine="auto")
        checkpoint = checkpoint_of(wanted)
    return LabelSources(
        args.detector, hands=args.hands, checkpoint=checkpoint, openpose=folders, definition=args.definition
    )


def _check(args: argparse.Namespace) -> None:
    if args.overlay is not None:
        if args.overlay.suffix.lower() != ".mp4":
            raise UserError(f"`--overlay {args.overlay}`: the name must end in `.mp4`.")
        if args.overlay.is_dir() or not args.overlay.resolve().parent.is_dir():
            raise UserError(f"`--overlay {args.overlay}`: give the name of a file in a folder that is there.")
        if len(args.sessions) > 1:
            raise UserError("`--overlay` is of one session. Give one, or leave `--overlay` out.")
    if args.given is not None:
        if args.given[0] != "openpose":
            raise UserError(f"`--from {args.given[0]}`: known is `--from openpose DIR`.")
        if args.detector != "mediapipe":
            raise UserError("`--from` and `--detector` both say where hands are. Leave one of them out.")
    if len({path.resolve() for path in args.sessions}) < len(args.sessions):
        raise UserError("a session is named twice. Name each once.")


def _print(summary: dict[str, Any]) -> None:
    if "error" in summary:
        print(f"{summary['session']}: not labelled")
        return
    dropped = summary["dropped"]
    print(
        f"{summary['session']}: {summary['labels']} labels of {summary['hands']} hands in {summary['sets_with_hand']} "
        f"of {summary['sets']} sets, mean confidence {summary['confidence_mean']}"
    )
    print(
        f"  left out: {dropped['detections_without_second_view']} detections that no second view confirms, "
        f"{dropped['views_contradicted']} views of hands that the others contradict, "
        f"{dropped['hands_without_two_agreeing_views']} hands without two views that agree; without a label: "
        f"{dropped['joints_without_label']} joints"
    )
    for name, of_camera in summary["cameras"].items():
        wrong = of_camera["contradicted"]
        share = "" if wrong is None else f", {wrong:.0%} of the joints contradicted"
        print(f"  {name}: {of_camera['labels']} labels in {of_camera['images']} images{share}")

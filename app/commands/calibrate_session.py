"""`usthand calibrate --session`: a calibration from recorded videos of a board, without a question asked."""

import argparse
import json
import logging
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from app.commands.calibrate_summary import print_result, result_summary, write_files
from app.commands.printed_board import read_printed_board
from calibration.board.board import Board, board_file
from calibration.board.hints import another_board
from calibration.board.session_scan import detect_session
from calibration.board.views import Detections
from calibration.camera import Camera
from calibration.errors import UserError, pasted
from calibration.formats import read_lenses
from calibration.importers.recording import UNTIMED
from calibration.result.result import CalibrationOptions, CalibrationResult
from calibration.rig import Rig, read_rig, read_uncalibrated_rig
from calibration.session import Session, check_session
from calibration.solve.calibrate import calibrate
from calibration.solve.exchanged import exchanged_cameras
from calibration.solve.input_checks import check_given_sizes

_log = logging.getLogger(__name__)


def run_session(args: argparse.Namespace) -> int:
    session = check_session(args.session, calibrated=False)
    board = read_printed_board(board_path(args.board, session))
    options = CalibrationOptions(
        lens=args.lens or "auto",
        time_offsets=not args.no_time_offsets,
        rolling_shutter=args.rolling_shutter,
        known_distances_m=parse_distances(args.distance or (), session.camera_ids),
        world_time_ns=None if args.world_frame in (None, "fit") else parse_moment(args.world_frame, session),
        fit_world=args.world_frame == "fit",
    )
    given = None if args.intrinsics is None else _given_intrinsics(args.intrinsics, session)
    rig = _rig_to_keep(args.output, session)
    started = time.perf_counter()
    detections = detect_board(session, board)
    detected = time.perf_counter()
    result = _solve(session, board, detections, given, rig, options)
    seconds = time.perf_counter() - started

    notes = _times_notes(session) + _turn_notes(rig, session)
    notes += _exchange_notes(args.output, session, detections, board)
    result = replace(result, warnings=[*result.warnings, *notes])
    command = shlex.join(["usthand", *_arguments(args)])
    summary = result_summary(result, detections)
    summary |= write_files(
        result, detections, output=args.output, report=args.report, session=args.session, command=command,
        known_distances_m=options.known_distances_m,
    )  # fmt: skip
    summary |= {
        "seconds": round(seconds, 3),
        "detection_seconds": round(detected - started, 3),
        "solve_seconds": round(seconds - (detected - started), 3),
    }
    print_result(summary)
    if args.output is not None and result.verdict != "poor":
        print(how_to_use(result.rig, args.output, session.path))
    if args.json:
        print(json.dumps(summary, allow_nan=False))
    return 0


def board_path(given: Path | None, session: Session) -> Path:
    """The board file: as given, else the session's own. Raises UserError where there is none."""
    path = board_file(given or session.path)
    if not path.is_file():
        missing = f"{path}: no such file" if given else f"no `--board`, and {session.path} has no board.yaml"
        raise UserError(f"{missing}. Give the board.yaml that describes the printed board; `usthand board` draws one.")
    return path


def detect_board(session: Session, board: Board) -> Detections:
    """The board in every image of the session, with a progress bar on a terminal."""
    with _progress_bar("looking for the board") as progress:
        return detect_session(session, board, progress=progress)


@contextmanager
def _progress_bar(name: str):
    with tqdm(desc=name, disable=None, file=sys.stderr, unit="frame", leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _solve(
    session: Session,
    board: Board,
    detections: Detections,
    given: Mapping[str, Camera] | None,
    rig: Rig,
    options: CalibrationOptions,
) -> CalibrationResult:
    """Calibrate; where that fails or turns out poor, say so if the videos show another board than board.yaml."""
    try:
        result = calibrate(detections, board, given_intrinsics=given, given_rig=rig, options=options)
    except UserError as error:
        hint = another_board(session, board)
        raise UserError(f"{error} {hint}" if hint else str(error)) from None
    hint = another_board(session, board) if result.verdict == "poor" else None
    return replace(result, warnings=[*result.warnings, hint]) if hint else result


def parse_distances(texts: Sequence[str], camera_ids: Sequence[str]) -> dict[tuple[str, str], float]:
    """Distances in metres by pairs of cameras, from texts as `cam_0-cam_1=1.132`. Raises UserError."""
    distances = {}
    for text in texts:
        pair, _, number = text.partition("=")
        try:
            distance_m = float(number)
        except ValueError:
            distance_m = 0.0
        if not 0 < distance_m < float("inf"):
            raise UserError(f"`--distance {text}`: expected two cameras and metres, such as `cam_0-cam_1=1.132`.")
        # An id may itself hold a `-`.
        cuts = [(pair[: cut.start()], pair[cut.end() :]) for cut in re.finditer("-", pair)]
        known = [(a, b) for a, b in cuts if a in camera_ids and b in camera_ids and a != b]
        if not known:
            raise UserError(
                f"`--distance {text}`: `{pair}` does not name two cameras; the session has {', '.join(camera_ids)}."
            )
        distances[known[0]] = distance_m
    return distances


def parse_moment(text: str, session: Session) -> int:
    """A time in ns on the recording's clock: of a frame of the first camera (`57`), or seconds from its first (`9.5s`).

    Raises UserError for anything else and for a moment outside the recording.
    """
    camera_id = session.camera_ids[0]
    times = session.frame_times_ns(camera_id)
    match = re.fullmatch(r"(\d+)|(\d+(?:\.\d*)?)s", text.strip())
    if match is None:
        raise UserError(
            f"`--world-frame {text}`: expected a frame number such as `57`, seconds such as `9.5s`, or `fit`."
        )
    if match[1] is not None:
        if int(match[1]) >= len(times):
            raise UserError(f"`--world-frame {text}`: camera `{camera_id}` has frames 0 to {len(times) - 1}.")
        return int(times[int(match[1])])
    moment_ns = int(times[0]) + round(float(match[2]) * 1e9)
    if moment_ns > times[-1]:
        raise UserError(f"`--world-frame {text}`: the recording lasts {(times[-1] - times[0]) / 1e9:.1f} s.")
    return moment_ns


def _given_intrinsics(path: Path, session: Session) -> dict[str, Camera]:
    known = read_lenses(path, session.image_sizes)
    check_given_sizes(known, session.image_sizes)
    without = [camera_id for camera_id in session.camera_ids if camera_id not in known]
    if without:
        _log.info("%s: no lens of %s, which is calibrated", path, ", ".join(without))
    return known


def _rig_to_keep(output: Path | None, session: Session) -> Rig:
    """The rig whose order, sources, turns and synchronisation the new one keeps: that at `output` where there is one.

    How images are turned goes with the source that delivers them; where the rig there names none, with the videos.
    """
    if output is None or not output.exists():
        return session.rig
    before = read_uncalibrated_rig(output)
    if set(before.camera_ids) != set(session.camera_ids):
        raise UserError(
            f"`-o {output}`: is a rig of other cameras ({', '.join(before.camera_ids)}); the session has "
            f"{', '.join(session.camera_ids)}. Give another name to write."
        )
    cameras = tuple(
        camera if camera.source is not None or camera.turn else replace(camera, turn=session.rig[camera.camera_id].turn)
        for camera in before.cameras
    )
    return replace(before, cameras=cameras)


def _exchange_notes(output: Path | None, session: Session, detections: Detections, board: Board) -> list[str]:
    """A warning where the calibration before fits these videos only if two of them change places."""
    path = output if output is not None and output.exists() else session.path / "rig.yaml"
    try:
        before = read_rig(path)
    except UserError:  # not calibrated yet
        return []
    pair = exchanged_cameras(before, detections, board)
    exchanged = f"the videos of {' and '.join(pair or ())} look exchanged: {path}, as it was before, fits only so"
    return [exchanged] if pair else []


def how_to_use(rig: Rig, path: Path, session: Path) -> str:
    """The next command for a rig that was calibrated from `session` and written to `path`."""
    own = session / "rig.yaml"
    if path.resolve() == own.resolve():
        return f"Play the session with it: usthand replay {pasted(session)}"
    if all(camera.source is not None or camera.remote for camera in rig.cameras):
        return f"Use it: usthand live {pasted(path)}"
    return (
        f"Use it: usthand import VIDEOS SESSION --rig {pasted(path)}; for this session: "
        f"cp {pasted(path)} {pasted(own)} && usthand replay {pasted(session)}"
    )


def _times_notes(session: Session) -> list[str]:
    """A warning where an import found no times of the frames."""
    if session.clock not in UNTIMED:
        return []
    return [f"no times of the frames were recorded: they are {session.clock}"]


def _turn_notes(rig: Rig, session: Session) -> list[str]:
    """A warning for each camera whose live images the rig will not turn as the session's videos were."""
    recorded = {camera_id: session.recorded_camera(camera_id).turn for camera_id in rig.camera_ids}
    return [
        f"the videos of camera {camera.camera_id} are turned upright by `{recorded[camera.camera_id]}`, but what its "
        f"`source` delivers by `{camera.turn or 'nothing'}`: if that comes as the videos did, write "
        f"`{recorded[camera.camera_id]}` in rig.yaml"
        for camera in rig.cameras
        if recorded[camera.camera_id] and recorded[camera.camera_id] != camera.turn
    ]


def _arguments(args: argparse.Namespace) -> list[str]:
    """The command line again, from what was parsed."""
    parts = ["calibrate", "--session", str(args.session)]
    for flag in ("board", "intrinsics", "lens", "world_frame"):
        if getattr(args, flag) is not None:
            parts += [f"--{flag.replace('_', '-')}", str(getattr(args, flag))]
    for distance in args.distance or ():
        parts += ["--distance", distance]
    parts += ["--no-time-offsets"] * args.no_time_offsets + ["--rolling-shutter"] * args.rolling_shutter
    if args.output is not None:
        parts += ["-o", str(args.output)]
    return [*parts, "--report", str(args.report)]

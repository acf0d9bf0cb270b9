"""`usthand calibrate`: the wizard on live cameras, a calibration from recorded videos, or a check for moved cameras."""

import argparse
from pathlib import Path

from app.commands.common import add_command
from calibration.errors import UserError
from calibration.written_files import check_can_write

_LENSES = ("auto", "pinhole5", "pinhole8", "fisheye4")


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "calibrate",
        run,
        "calibrate cameras with a printed board, live with guidance or from videos; or find cameras that moved",
        "  usthand calibrate rig.yaml --board board.yaml                      (live cameras, with guidance)\n"
        "  usthand calibrate --session session/ --board board.yaml --world-frame fit -o rig.yaml --report report.html\n"
        "  usthand calibrate --check session/ --rig rig.yaml --board board.yaml -o rig.yaml",
    )
    parser.add_argument(
        "live_rig", type=Path, nargs="?", metavar="RIG", help="calibrate the live cameras of this rig.yaml"
    )
    parser.add_argument("--session", type=Path, metavar="DIR", help="calibrate from a recorded session")
    parser.add_argument("--check", type=Path, metavar="DIR", help="say whether a camera moved before this session")
    parser.add_argument("--board", type=Path, metavar="FILE", help="board.yaml or its folder (default: the session)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="rig.yaml to write; an older one is kept beside"
    )
    parser.add_argument(
        "--report", type=Path, metavar="OUT.html", help="write the report: one page with figures and plots"
    )

    recorded = parser.add_argument_group("with --session")
    recorded.add_argument(
        "--intrinsics", type=Path, metavar="FILE", help="take the lenses from this rig, in any format of `usthand rig`"
    )
    recorded.add_argument("--lens", choices=_LENSES, help="lens model; default: auto, by the error on frames not used")
    recorded.add_argument("--no-time-offsets", action="store_true", help="take all time stamps as they are")
    recorded.add_argument("--rolling-shutter", action="store_true", help="also estimate the time of an image row")
    recorded.add_argument(
        "--distance",
        action="append",
        metavar="A-B=METRES",
        help="a measured distance between two cameras, cam_0-cam_1=1.132; checks the scale; may be repeated",
    )
    recorded.add_argument(
        "--world-frame",
        metavar="WHEN",
        help="put the world on the board as it lies then: a frame of the first camera (57), or seconds (9.5s); "
        "`fit`: amid all the board's places, z towards the cameras",
    )
    checked = parser.add_argument_group("with --check")
    checked.add_argument(
        "--rig", type=Path, metavar="FILE", help="the calibration to check (default: the session's rig.yaml)"
    )
    live = parser.add_argument_group("with RIG")
    live.add_argument("--resume", type=Path, metavar="DIR", help="go on with an interrupted calibration")
    live.add_argument("--listen", metavar="ADDRESS", help="where remote grabbers connect, tcp://HOST:PORT")
    live.add_argument("--keys", type=Path, metavar="DIR", help="folder of CURVE keys, see `usthand keys`")


def run(args: argparse.Namespace) -> int:
    modes = [args.live_rig is not None, args.session is not None, args.check is not None]
    if sum(modes) != 1:
        raise UserError(
            "give one of RIG (live cameras), `--session DIR` (recorded videos) and `--check DIR` (has a camera moved?)"
            + ("; got none." if not any(modes) else "; got several.")
        )
    _refuse_flags_of_other_modes(args)
    check_writable(args.output, "-o", (".yaml", ".yml"))
    check_writable(args.report, "--report", (".html", ".htm"))
    if args.session is not None:
        from app.commands.calibrate_session import run_session

        return run_session(args)
    if args.check is not None:
        from app.commands.calibrate_check import run_check

        return run_check(args)
    from app.commands.calibrate_live import run_wizard

    args.rig = args.live_rig
    return run_wizard(args)


def _refuse_flags_of_other_modes(args: argparse.Namespace) -> None:
    recorded = ("intrinsics", "lens", "no_time_offsets", "rolling_shutter", "distance", "world_frame")
    for mode, given, flags in (
        ("`--session`", args.session is not None, recorded),
        ("`--check`", args.check is not None, ("rig",)),
        ("live cameras (RIG)", args.live_rig is not None, ("resume", "listen", "keys")),
        ("`--session` or live cameras (RIG)", args.check is None, ("report",)),
    ):
        wrong = [flag for flag in flags if getattr(args, flag)]
        if not given and wrong:
            raise UserError(f"`--{wrong[0].replace('_', '-')}` goes with {mode} only. Leave it out.")


def check_writable(path: Path | None, flag: str, endings: tuple[str, ...]) -> None:
    """Raise UserError unless a file of this name can be made, before any work is done for it."""
    if path is None:
        return
    if path.suffix.lower() not in endings:
        raise UserError(f"`{flag} {path}`: the name must end in `{endings[0]}`.")
    check_can_write(path, f"`{flag} {path}`")

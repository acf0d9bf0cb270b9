"""`usthand doctor`: what of this machine is in the way, and what mends it. It runs where packages are broken."""

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path

from app.commands.subcommand import add_command
from app.doctor.bundle import write_bundle
from app.doctor.examination import Examination, as_text, examine
from app.doctor.finding import Finding
from app.run.logs import log_folder
from calibration.cached_folder import user_cache
from calibration.errors import UserError
from calibration.written_files import check_can_write


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "doctor",
        run,
        "examine this machine: packages, engines, display, cameras, disk and more, each with the command that mends it",
        "  usthand doctor\n  usthand doctor --rig rig.yaml   (also opens every camera and measures it)\n"
        "  usthand doctor --rig rig.yaml --listen tcp://0.0.0.0:5600 --keys keys/   (and other machines' cameras)\n"
        "  usthand doctor --rig rig.yaml --bundle report.zip   (for whoever helps you; without anything private)",
    )
    parser.add_argument("--rig", type=Path, metavar="RIG", help="open every camera of this rig for some seconds, too")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="N", help="so long (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(), metavar="DIR", help="where you record (default: here)")
    parser.add_argument("--port", type=int, default=5600, help="of remote cameras, and the next (default: %(default)s)")
    parser.add_argument("--listen", metavar="ADDRESS", help="wait for the rig's remote cameras there, tcp://HOST:PORT")
    parser.add_argument("--keys", type=Path, metavar="DIR", help="for them: folder of CURVE keys, see `usthand keys`")
    parser.add_argument("--bundle", type=Path, metavar="OUT.zip", help="gather rig, logs and versions in a file")
    parser.add_argument(
        "--private", action="store_true", help="leave user and host names, addresses and passwords in the bundle"
    )


def run(args: argparse.Namespace) -> int:
    if not 0 < args.seconds < math.inf or not 0 < args.port < 65535:
        raise UserError(f"`--seconds {args.seconds:g} --port {args.port}`: give seconds above 0, and a port to 65534.")
    if args.private and args.bundle is None:
        raise UserError("`--private` is of a bundle: give `--bundle OUT.zip` as well.")
    if args.bundle is not None and (args.bundle.suffix != ".zip" or not args.bundle.resolve().parent.is_dir()):
        raise UserError(f"`{args.bundle}`: give the name of a .zip file in a folder that is there.")
    if args.bundle is not None:
        check_can_write(args.bundle, f"`--bundle {args.bundle}`")
    port = args.port
    if args.listen is not None:
        port = _check_listen(args)
    wanted = Examination(rig=args.rig, seconds=args.seconds, folder=args.folder, port=port, cache=user_cache(),
                         listen=args.listen, keys=args.keys)  # fmt: skip
    findings: list[Finding] = []
    for finding in examine(wanted):
        findings.append(finding)
        print(as_text(finding), flush=True)
    count = {level: sum(each.level == level for each in findings) for level in ("problem", "warning", "ok")}
    print(f"{count['problem']} problems, {count['warning']} warnings, {count['ok']} ok")
    if args.bundle is not None:
        names = write_bundle(args.bundle, findings, args.rig, log_folder(), wanted.machine, args.private)
        kept = "as it is, passwords too" if args.private else "names, addresses, passwords and keys taken out"
        print(f"{args.bundle}: {len(names)} files, {kept}. Look at it before you send it.")
    if args.json:
        told = {**count, "findings": [asdict(each) for each in findings], "bundle": args.bundle and str(args.bundle)}
        print(json.dumps(told))
    return 1 if count["problem"] else 0


def _check_listen(args: argparse.Namespace) -> int:
    """The port of `--listen`. Raises UserError."""
    # Where packages are broken they are not needed.
    from app.transport.keys import Keys
    from app.transport.sockets import check_address

    if args.rig is None:
        raise UserError("`--listen` is for the remote cameras of a rig: give `--rig RIG` as well.")
    check_address(args.listen, Keys(args.keys) if args.keys else None, of_grabbers=True)
    port = args.listen.rpartition(":")[2]
    return int(port) if port.isdecimal() else args.port

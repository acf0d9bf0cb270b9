"""`usthand bench calibration`: a calibration from recorded videos, part by part, beside the decoder alone."""

import argparse
import json
from pathlib import Path

from app.commands.calibrate_session import board_path
from app.commands.common import add_command
from app.commands.printed_board import read_printed_board
from calibration.session import check_session


def add_calibration(parts) -> None:
    parser = add_command(
        parts,
        "calibration",
        run,
        "calibrating from videos: detection and solve, against decoding the videos alone",
        "  usthand bench calibration session/\n  usthand bench calibration session/ --board board.yaml --rounds 5",
    )
    parser.add_argument("session", type=Path, help="a recorded session")
    parser.add_argument("--board", type=Path, metavar="FILE", help="board.yaml (default: the one in the session)")
    parser.add_argument("--rounds", type=int, choices=range(1, 101), default=3, metavar="N", help="(%(default)s)")


def run(args: argparse.Namespace) -> int:
    from app.bench.calibration import bench

    session = check_session(args.session, calibrated=False)
    result = bench(session, read_printed_board(board_path(args.board, session)), args.rounds)
    print(f"{result['frames']} images of {result['cameras']} cameras; seconds, in brackets of processor time")
    for part, name in (("decode", "decoder alone"), ("detection", "detection, which decodes"), ("solve", "solve")):
        print(f"{name:25} {result[f'{part}_s']:8.3f} ({result[f'{part}_cpu_s']:.3f})")
    print(f"{'calibration':25} {result['calibration_s']:8.3f}, {result['of_decoder']:g} times the decoder alone")
    if args.json:
        print(json.dumps(result))
    return 0

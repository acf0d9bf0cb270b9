"""`usthand board`: draws a calibration board to print."""

import argparse
import json
from pathlib import Path

from app.commands.common import add_command, positive
from app.commands.printed_board import refuse_symmetric
from calibration.board.board import Board, check_board, check_counts, read_board, write_board
from calibration.board.markers import check_dictionary, marker_count
from calibration.board.printing import PAPERS_MM, describe, layout_page, write_pdf, write_png
from calibration.errors import UserError, reason_of, write_error
from calibration.rig_backup import keep_backup
from calibration.written_together import written_together

_MOST_DPI = 2400
_DEFAULTS = {
    "charuco": (7, 5, "DICT_4X4_50", 0.75),
    "chessboard": (9, 6, None, None),
    "aprilgrid": (6, 4, "DICT_APRILTAG_36h11", 1 / 1.3),
}


def add_parser(subparsers) -> None:
    parser = add_command(
        subparsers,
        "board",
        run,
        "draw a calibration board to print in true size, and the board.yaml that describes it",
        "  usthand board -o board\n  usthand board --columns 4 --rows 5 --square-mm 54 --paper A3 -o big_board",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the three files")
    parser.add_argument("--type", choices=tuple(_DEFAULTS), default="charuco", help="default: charuco, the most robust")
    parser.add_argument("--columns", type=int, metavar="N", help="squares along a row (aprilgrid: tags)")
    parser.add_argument("--rows", type=int, metavar="N", help="squares along a column (aprilgrid: tags)")
    parser.add_argument(
        "--square-mm",
        type=positive,
        metavar="MM",
        help="side of a square (aprilgrid: tag and gap); default: fills the paper",
    )
    parser.add_argument("--marker-mm", type=positive, metavar="MM", help="side of a marker; default: 0.75 of a square")
    parser.add_argument("--dictionary", metavar="NAME", help="marker dictionary, for example DICT_5X5_100")
    parser.add_argument("--inverted", action="store_true", help="black and white swapped")
    parser.add_argument("--legacy", action="store_true", help="ChArUco layout of OpenCV before 4.6")
    parser.add_argument("--paper", choices=tuple(PAPERS_MM), default="A4", help="default: A4")
    parser.add_argument("--dpi", type=positive, default=300.0, metavar="N", help="resolution of the PNG; default: 300")


def run(args: argparse.Namespace) -> int:
    if args.output.exists() and not args.output.is_dir():
        raise UserError(f"`{args.output}` is a file. Give the name of a folder, new or existing.")
    if args.dpi > _MOST_DPI:
        raise UserError(f"`--dpi {args.dpi:g}`: at most {_MOST_DPI}; printers resolve no more. The PDF has no pixels.")
    board = _board(args)
    page = layout_page(board, args.paper)
    files = {ending: args.output / f"board.{ending}" for ending in ("pdf", "png", "yaml")}
    try:
        with written_together(args.output) as folder:
            write_pdf(folder / files["pdf"].name, board, args.paper)
            write_png(folder / files["png"].name, board, args.dpi)
            write_board(folder / files["yaml"].name, board)
            backup = keep_backup(files["yaml"]) if _differs(files["yaml"], board) else None
    except OSError as error:
        raise write_error(
            f"`{args.output}` cannot be written ({reason_of(error)}). Give a folder that can.", error
        ) from None
    print(f"{describe(board)}, on {args.paper}")
    for file in files.values():
        print(f"  {file}")
    if backup is not None:
        print(f"the board.yaml before, which says something else: {backup}")
    print(
        f"Print board.pdf at 100 % (no fitting to the page) and glue it to something flat. The rulers on it must "
        f"measure {page.ruler_length_mm:g} mm across and {page.side_ruler_length_mm:g} mm down; if they do not, put "
        "the measured square size into board.yaml, width and height where they differ: `square_m: [0.0351, 0.0347]`."
    )
    if args.json:
        summary = {
            **{ending: str(file) for ending, file in files.items()},
            "yaml_before": None if backup is None else str(backup),
            "paper": args.paper,
            "board": {"type": board.type, "columns": board.columns, "rows": board.rows},
            "square_mm": 1e3 * board.side_m,
            "marker_mm": None if board.marker_m is None else 1e3 * board.marker_m,
            "dictionary": board.dictionary,
            "inverted": board.inverted,
            "legacy": bool(board.legacy),
            "markers": marker_count(board),
            "ruler_mm": page.ruler_length_mm,
            "side_ruler_mm": page.side_ruler_length_mm,
        }
        print(json.dumps(summary))
    return 0


def _differs(path: Path, board: Board) -> bool:
    """Is there a file that describes another board, such as one whose square was measured?"""
    try:
        return path.exists() and read_board(path) != board
    except UserError:
        return True


def _board(args: argparse.Namespace) -> Board:
    """The board that the flags ask for. Raises UserError where they contradict each other."""
    columns, rows, dictionary, marker_share = _DEFAULTS[args.type]
    columns = columns if args.columns is None else args.columns
    rows = rows if args.rows is None else args.rows
    check_counts(args.type, columns, rows, "usthand board")
    if args.type == "chessboard" and (args.marker_mm or args.dictionary):
        raise UserError("a chessboard has no markers: leave out `--marker-mm` and `--dictionary`.")
    if args.legacy and args.type != "charuco":
        raise UserError(f"`--legacy` is a layout of ChArUco boards; a {args.type} has no such layout.")
    square_m = 1e-3 * (args.square_mm or _filling_square_mm(args, columns, rows, marker_share))
    marker_m = None
    if marker_share is not None:
        marker_m = round(1e-3 * args.marker_mm if args.marker_mm else marker_share * square_m, 7)
    name = args.dictionary or dictionary
    board = Board(
        type=args.type,
        columns=columns,
        rows=rows,
        square_m=round(square_m, 7),
        dictionary=name,
        marker_m=marker_m,
        inverted=args.inverted,
        legacy=args.legacy or None,
    )
    check_board(board, "usthand board")
    refuse_symmetric(board, "")
    check_dictionary(board, "usthand board")
    return board


def _filling_square_mm(args: argparse.Namespace, columns: int, rows: int, marker_share: float | None) -> float:
    """The largest whole number of millimetres for which the board fits on the paper."""
    for square_mm in range(200, 4, -1):
        marker_m = None if marker_share is None else 1e-3 * marker_share * square_mm
        try:
            layout_page(
                Board(
                    type=args.type,
                    columns=columns,
                    rows=rows,
                    square_m=1e-3 * square_mm,
                    dictionary="-",
                    marker_m=marker_m,
                ),
                args.paper,
            )
        except UserError:
            continue
        if args.marker_mm is None or args.marker_mm < square_mm:
            return float(square_mm)
    raise UserError(f"{columns} columns and {rows} rows do not fit on {args.paper} with squares of 5 mm or more.")

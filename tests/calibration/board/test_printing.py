"""Printed boards: what comes out of the files is the board that was asked for, in true size."""

import json
import shutil
import subprocess
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from app.cli import main
from calibration.board.board import Board, check_board, read_board, write_board
from calibration.board.detector import detect_board
from calibration.board.pattern import pattern_origin_m, rasterise
from calibration.board.printing import layout_page, write_pdf
from calibration.errors import UserError

DPI = 200
PX_PER_MM = DPI / 25.4
BOARDS = {
    "charuco": (["--columns", "5", "--rows", "6"], "A4"),
    "inverted": (["--columns", "4", "--rows", "5", "--square-mm", "54", "--inverted"], "A3"),
    "legacy": (["--columns", "5", "--rows", "6", "--legacy", "--square-mm", "25"], "Letter"),
    "chessboard": (["--type", "chessboard"], "A4"),
    "aprilgrid": (["--type", "aprilgrid"], "A4"),
}  # fmt: skip


def render_pdf(pdf: Path) -> np.ndarray:
    """The page (H, W) uint8 as a PDF program draws it."""
    out = pdf.with_suffix(".pdf.png")
    if shutil.which("pdftoppm"):
        command = ["pdftoppm", "-r", str(DPI), "-gray", "-png", "-singlefile", str(pdf), str(out.with_suffix(""))]
    elif shutil.which("gs"):
        command = ["gs", "-q", "-dNOPAUSE", "-dBATCH", "-dGraphicsAlphaBits=4", "-sDEVICE=pnggray", f"-r{DPI}"]
        command += [f"-sOutputFile={out}", str(pdf)]
    else:
        pytest.skip("neither pdftoppm (poppler-utils) nor gs (ghostscript) is installed to render the PDF with")
    subprocess.run(command, check=True, capture_output=True)
    return np.asarray(cv2.imread(str(out), cv2.IMREAD_GRAYSCALE))


def draw(tmp_path: Path, name: str) -> Board:
    flags, paper = BOARDS[name]
    assert main(["board", *flags, "--paper", paper, "-o", str(tmp_path / name)]) == 0
    return read_board(tmp_path / name / "board.yaml")


@pytest.mark.parametrize("name", BOARDS)
def test_printed_corners_lie_where_the_board_has_them(tmp_path, name):
    board = draw(tmp_path, name)
    page = render_pdf(tmp_path / name / "board.pdf")
    paper = layout_page(board, BOARDS[name][1])
    assert abs(page.shape[1] - paper.width_mm * PX_PER_MM) <= 1
    found = detect_board(page, board)
    corners_mm = 1e3 * board.corners_board_m[:, :2]
    assert len(found.corner_ids) >= 0.95 * len(corners_mm)
    seen_mm = (found.corners_px + 0.5) / PX_PER_MM
    shift_mm = seen_mm - corners_mm[found.corner_ids]
    assert np.abs(shift_mm - np.median(shift_mm, axis=0)).max() < 0.06
    assert found.legacy is (name == "legacy" if board.type == "charuco" and board.rows % 2 == 0 else None)


def test_ruler_measures_what_it_says(tmp_path):
    board = draw(tmp_path, "charuco")
    page = render_pdf(tmp_path / "charuco" / "board.pdf")
    paper = layout_page(board, "A4")
    left_mm, base_mm = paper.ruler_mm
    # Ticks of whole centimetres are the only ink so far above the base line.
    row = page[round((base_mm - 3.5) * PX_PER_MM)].astype(float)
    dark = np.flatnonzero(row < 200)
    ticks = [group.mean() for group in np.split(dark, np.flatnonzero(np.diff(dark) > 1) + 1)]
    ticks_mm = (np.array(ticks) + 0.5) / PX_PER_MM
    assert len(ticks) == paper.ruler_length_mm / 10 + 1
    assert np.allclose(ticks_mm, left_mm + 10 * np.arange(len(ticks)), atol=0.1)


def test_the_ruler_down_the_side_measures_what_it_says(tmp_path):
    board = draw(tmp_path, "charuco")
    page = render_pdf(tmp_path / "charuco" / "board.pdf")
    paper = layout_page(board, "A4")
    left_mm, top_mm = paper.side_ruler_mm
    column = page[:, round((left_mm + 1.75) * PX_PER_MM)].astype(float)
    # Below it are the other ruler and its words.
    dark = np.flatnonzero(column[: round((top_mm + paper.side_ruler_length_mm + 2) * PX_PER_MM)] < 200)
    ticks = [group.mean() for group in np.split(dark, np.flatnonzero(np.diff(dark) > 1) + 1)]
    ticks_mm = (np.array(ticks) + 0.5) / PX_PER_MM
    assert len(ticks) == paper.side_ruler_length_mm / 10 + 1
    assert np.allclose(ticks_mm, top_mm + 10 * np.arange(len(ticks)), atol=0.1)


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("stretch", [1.03, 0.97])
def test_a_print_that_is_not_square_has_its_corners_where_two_sizes_put_them(tmp_path, name, stretch):
    """The drawing is stretched as a printer does it; the board's file has width and height of a square."""
    board = draw(tmp_path, name)
    stretched = msgspec.structs.replace(
        board,
        square_m=(board.side_m, board.side_m * stretch),
        marker_m=board.marker_m and board.marker_m * (1 + stretch) / 2,
    )
    write_board(tmp_path / "two.yaml", stretched)
    assert read_board(tmp_path / "two.yaml") == stretched
    drawing = rasterise(board, 2000, margin_m=0.02)
    image = cv2.resize(drawing, None, fx=1.0, fy=stretch, interpolation=cv2.INTER_AREA)
    theirs = rasterise(stretched, 2000, margin_m=0.02)
    found = [detect_board(each, stretched) for each in (image, theirs)]
    for each in found:
        corners_px = 2000 * stretched.corners_board_m[each.corner_ids, :2]
        shift = each.corners_px - corners_px
        assert len(each.corner_ids) >= 0.95 * len(stretched.corners_board_m)
        assert np.ptp(shift, axis=0).max() < 0.6


def test_the_two_sizes_of_a_square_are_checked(tmp_path):
    (tmp_path / "board.yaml").write_text("type: chessboard\ncolumns: 9\nrows: 6\nsquare_m: [0.03, 0.3]\n")
    with pytest.raises(UserError, match="differ by more than a print does"):
        read_board(tmp_path / "board.yaml")


@pytest.mark.parametrize("name", BOARDS)
def test_png_holds_the_board_and_states_its_resolution(tmp_path, name):
    board = draw(tmp_path, name)
    png = tmp_path / name / "board.png"
    found = detect_board(np.asarray(cv2.imread(str(png), cv2.IMREAD_GRAYSCALE)), board)
    content = png.read_bytes()
    at = content.index(b"pHYs")
    per_m = int.from_bytes(content[at + 4 : at + 8], "big")
    corners_px = board.corners_board_m[:, :2] * per_m
    assert len(found.corner_ids) >= 0.95 * len(corners_px)
    shift = found.corners_px - corners_px[found.corner_ids]
    assert np.ptp(shift, axis=0).max() < 0.6


@pytest.mark.parametrize("legacy", [False, True])
def test_charuco_is_drawn_as_opencv_draws_it(legacy):
    board = Board(
        type="charuco", columns=5, rows=6, square_m=0.08, dictionary="DICT_5X5_100", marker_m=0.056, legacy=legacy
    )
    theirs = cv2.aruco.CharucoBoard((5, 6), 0.08, 0.056, cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100))
    theirs.setLegacyPattern(legacy)
    # 80 pixels a square and 8 a module: every edge falls between pixels.
    assert np.array_equal(rasterise(board, 1000), theirs.generateImage((400, 480), marginSize=0))


def test_default_board_fills_a4_and_json_tells_its_files(tmp_path, capsys):
    assert main(["board", "-o", str(tmp_path / "out"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    board = read_board(Path(summary["yaml"]))
    assert board.side_m * 1e3 == summary["square_mm"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"board.pdf", "board.png", "board.yaml"}
    with pytest.raises(Exception, match="does not fit"):
        write_pdf(
            tmp_path / "x.pdf",
            Board(
                type="charuco",
                columns=7,
                rows=5,
                square_m=board.side_m * 1.1,
                dictionary="DICT_4X4_50",
                marker_m=board.side_m * 0.8,
            ),
        )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--square-mm", "54", "--columns", "4", "--rows", "5"], "largest square that fits is 48.5 mm"),
        (["--type", "chessboard", "--columns", "8", "--rows", "6"], "turned by 180 degrees"),
        (["--type", "chessboard", "--dictionary", "DICT_4X4_50"], "no markers"),
        (["--dictionary", "DICT_4X4_49"], "not known"),
        (["--columns", "20", "--rows", "20", "--square-mm", "5"], "needs 200 markers"),
        (["--square-mm", "20", "--marker-mm", "20"], "below `square_m`"),
        (["--columns", "2"], "at least 3"),
        (["--columns", "0"], "0 columns and 5 rows; a charuco has at least 3"),
        (["--rows", "0"], "7 columns and 0 rows; a charuco has at least 3"),
        (["--type", "chessboard", "--columns", "3", "--rows", "8"], "a chessboard has at least 4"),
        (["--type", "aprilgrid", "--columns", "1"], "aprilgrid has at least 2"),
        (["--square-mm", "0.035"], "no board has squares of 0.035 mm"),
        (["--dpi", "100000"], "at most 2400"),
    ],
)
def test_bad_boards_are_refused_with_the_remedy(tmp_path, capsys, flags, words):
    assert main(["board", *flags, "-o", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "columns", "rows"),
    [("charuco", 3, 3), ("chessboard", 4, 5), ("aprilgrid", 2, 2)],
)
def test_the_least_board_is_found_whole_where_one_less_is_refused(kind, columns, rows):
    marked = {} if kind == "chessboard" else {"dictionary": "DICT_APRILTAG_36h11", "marker_m": 0.03}
    board = Board(type=kind, columns=columns, rows=rows, square_m=0.04, **marked)
    check_board(board, "board.yaml")
    # White all around, as paper is: half a square.
    found = detect_board(rasterise(board, 1600, 0.04), board)
    corners_px = (board.corners_board_m[found.corner_ids, :2] + pattern_origin_m(board) + 0.04) * 1600 - 0.5
    assert len(found.corner_ids) == len(board.corners_board_m)
    np.testing.assert_allclose(found.corners_px, corners_px, rtol=0, atol=0.1)
    for narrower in ({"columns": columns - 1}, {"rows": columns - 1}):
        with pytest.raises(UserError, match=f"has at least {columns}"):
            check_board(msgspec.structs.replace(board, **narrower), "board.yaml")


def test_a_board_in_millimetres_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_text("type: chessboard\ncolumns: 9\nrows: 6\nsquare_m: 30\n")
    with pytest.raises(UserError, match=r"squares of 30000 mm. It is in metres"):
        read_board(path)


@pytest.mark.parametrize(("text", "kind"), [('columns = 4\nunits = "inch"\n', "text"), ("- 4\n- 5\n", "a list")])
def test_a_file_of_another_kind_is_no_board(text: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "charuco.toml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_board(path)
    assert f"{path}: holds {kind}, expected entries `key: value` of `type`, `columns`" in str(error.value)
    assert "Give the board.yaml that `usthand board` wrote" in str(error.value)


def test_largest_square_that_is_offered_does_fit(tmp_path):
    assert main(["board", "--columns", "4", "--rows", "5", "--square-mm", "48.5", "-o", str(tmp_path / "out")]) == 0


def test_a_corrected_board_yaml_is_kept_when_the_board_is_drawn_again(tmp_path, capsys):
    drawn = ["board", "--columns", "4", "--rows", "5", "-o", str(tmp_path), "--json"]
    for _ in range(2):
        assert main(drawn) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["yaml_before"] is None
    board = read_board(tmp_path / "board.yaml")
    measured = msgspec.structs.replace(board, square_m=board.side_m * 1.01)
    write_board(tmp_path / "board.yaml", measured)
    assert main(drawn) == 0
    kept = Path(json.loads(capsys.readouterr().out.splitlines()[-1])["yaml_before"])
    assert kept.name.startswith("board.yaml.bak-") and read_board(kept) == measured
    assert read_board(tmp_path / "board.yaml") == board

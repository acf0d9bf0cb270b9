"""A board on paper: a true-size PDF and a PNG, with two rulers to check the print against, as printers stretch paper
along one way only."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from calibration.board.board import Board
from calibration.board.pattern import black_rectangles_m, board_size_m, rasterise
from calibration.errors import UserError
from calibration.written_files import write_atomic

PAPERS_MM: dict[str, tuple[float, float]] = {"A4": (210.0, 297.0), "A3": (297.0, 420.0), "Letter": (215.9, 279.4)}
MARGIN_MM = 8.0
FOOT_MM = 16.0
# The ruler along the paper's side: how far from its edge, how wide, and how much of white it needs for its numbers.
_SIDE_MM, _SIDE_WIDTH_MM, _SIDE_NUMBERS_MM = 6.0, 2.0, 16.0
_POINTS_PER_MM = 72 / 25.4


@dataclass(frozen=True, kw_only=True)
class Page:
    """Where a board lies on its paper, in millimetres from the top left: the page's size, the board's top left, the
    ruler's left end (on its base line) and length, and the upper end and length of the ruler down the side."""

    width_mm: float
    height_mm: float
    board_mm: tuple[float, float]
    ruler_mm: tuple[float, float]
    ruler_length_mm: float
    side_ruler_mm: tuple[float, float]
    side_ruler_length_mm: float


def layout_page(board: Board, paper: str) -> Page:
    """Put a board on paper, upright or across, whichever fits.

    Raises UserError with the largest square that fits where neither does.
    """
    short, long = PAPERS_MM[paper]
    width, height = (1e3 * side for side in board_size_m(board))
    for page_width, page_height in ((short, long), (long, short)):
        room = page_width - 2 * MARGIN_MM, page_height - 2 * MARGIN_MM - FOOT_MM
        if width <= room[0] + 1e-6 and height <= room[1] + 1e-6:
            board_mm = ((page_width - width) / 2, MARGIN_MM + (room[1] - height) / 2)
            ruler = 10.0 * int(min(room[0] - 60, 200) // 10)
            return Page(
                width_mm=page_width,
                height_mm=page_height,
                board_mm=board_mm,
                ruler_mm=(MARGIN_MM, page_height - MARGIN_MM - 4.0),
                ruler_length_mm=ruler,
                side_ruler_mm=(_SIDE_MM, MARGIN_MM),
                side_ruler_length_mm=10.0 * int(min(room[1], 200) // 10),
            )
    largest = 1e3 * board.side_m * _largest_scale(width, height, short, long)
    raise UserError(
        f"a board of {width:.1f} x {height:.1f} mm does not fit on {paper} ({short:g} x {long:g} mm, margins of "
        f"{MARGIN_MM:g} mm and rulers). The largest square that fits is {np.floor(10 * largest) / 10:.1f} mm: give "
        f"`--square-mm {np.floor(10 * largest) / 10:.1f}` or less, fewer columns and rows, or larger paper."
    )


def _largest_scale(width: float, height: float, short: float, long: float) -> float:
    pages = ((short, long), (long, short))
    return max(min((w - 2 * MARGIN_MM) / width, (h - 2 * MARGIN_MM - FOOT_MM) / height) for w, h in pages)


def describe(board: Board) -> str:
    """One line about a board, as printed on it."""
    parts = [f"{board.type} {board.columns} x {board.rows}", f"square {board.squares_text_mm} mm"]
    if board.type != "chessboard":
        parts += [f"marker {1e3 * (board.marker_m or 0):g} mm", str(board.dictionary)]
    return ", ".join([*parts, *(["inverted"] if board.inverted else []), *(["legacy"] if board.legacy else [])])


def write_pdf(path: Path, board: Board, paper: str = "A4") -> None:
    """Write a board as a PDF of one page, in true size: vectors only. Raises UserError where it does not fit."""
    write_atomic(path, _pdf(_page_content(board, layout_page(board, paper)), layout_page(board, paper)))


def write_png(path: Path, board: Board, dpi: float = 300.0) -> None:
    """Write the board alone, with a quarter square of white around it, as a PNG that states its resolution."""
    image = rasterise(board, dpi / 0.0254, board.side_m / 4)
    done, encoded = cv2.imencode(".png", image)
    if not done:
        raise UserError(f"{path}: the picture could not be encoded.")
    write_atomic(path, _with_resolution(encoded.tobytes(), dpi))


def _page_content(board: Board, page: Page) -> bytes:
    """Drawing operators in millimetres with y down: one path for all of the board, so that no seams show."""
    left, top = page.board_mm
    rectangles = 1e3 * black_rectangles_m(board) + [left, top, left, top]
    lines = [f"{_POINTS_PER_MM:.9f} 0 0 {-_POINTS_PER_MM:.9f} 0 {page.height_mm * _POINTS_PER_MM:.6f} cm", "0 g"]
    if board.inverted:
        width, height = (1e3 * side for side in board_size_m(board))
        lines.append(f"{left:.6f} {top:.6f} {width:.6f} {height:.6f} re f 1 g")
    lines += [f"{x0:.6f} {y0:.6f} {x1 - x0:.6f} {y1 - y0:.6f} re" for x0, y0, x1, y1 in rectangles]
    lines += ["f 0 g", *_rulers(page), *_text(page, board)]
    return "\n".join(lines).encode("latin-1")


def _tick_share(tick: int) -> float:
    """How long a tick is, of the longest: those of centimetres, halves and millimetres."""
    return 1.0 if tick % 10 == 0 else 0.75 if tick % 5 == 0 else 0.5


def _rulers(page: Page) -> list[str]:
    """Two lines with a tick every millimetre; ticks are as wide as a hair and centred on their place."""
    x0, y0 = page.ruler_mm
    lines = ["0.1 w 0 G", f"{x0:.4f} {y0:.4f} m {x0 + page.ruler_length_mm:.4f} {y0:.4f} l S"]
    for tick in range(int(page.ruler_length_mm) + 1):
        height = _tick_share(tick) * 4.0
        lines.append(f"{x0 + tick:.4f} {y0:.4f} m {x0 + tick:.4f} {y0 - height:.4f} l")
    x0, y0 = page.side_ruler_mm
    lines.append(f"{x0:.4f} {y0:.4f} m {x0:.4f} {y0 + page.side_ruler_length_mm:.4f} l")
    for tick in range(int(page.side_ruler_length_mm) + 1):
        width = _tick_share(tick) * _SIDE_WIDTH_MM
        lines.append(f"{x0:.4f} {y0 + tick:.4f} m {x0 + width:.4f} {y0 + tick:.4f} l")
    return [*lines, "S"]


def _text(page: Page, board: Board) -> list[str]:
    x0, y0 = page.ruler_mm
    length = int(page.ruler_length_mm)
    words = [(x0 + tick - 0.8, y0 + 3.2, 2.6, str(tick)) for tick in range(0, length + 1, 10)]
    words.append((x0 + length + 5.0, y0 - 0.4, 2.6, f"mm. Print at 100 %; this must be {length} mm,"))
    down = int(page.side_ruler_length_mm)
    words.append((x0 + length + 5.0, y0 + 3.2, 2.6, f"the one down the left side {down} mm."))
    if page.board_mm[0] > _SIDE_NUMBERS_MM:
        x1, y1 = page.side_ruler_mm
        words += [(x1 + _SIDE_WIDTH_MM + 0.6, y1 + tick + 0.9, 2.6, str(tick)) for tick in range(0, down + 1, 10)]
    words.append((x0, y0 - 6.0, 3.0, describe(board)))
    return [f"BT /F1 {size:g} Tf 1 0 0 -1 {x:.3f} {y:.3f} Tm ({text}) Tj ET" for x, y, size, text in words]


def _pdf(content: bytes, page: Page) -> bytes:
    """A PDF file of one page: ISO 32000-1, sections 7.5 (file structure) and 9.6.2.2 (standard fonts)."""
    box = f"{page.width_mm * _POINTS_PER_MM:.6f} {page.height_mm * _POINTS_PER_MM:.6f}"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {box}] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>".encode(),
        f"<< /Length {len(content)} >>\nstream\n".encode() + content + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    file, offsets = b"%PDF-1.6\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(file))
        file += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    end = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(file)}\n%%EOF\n"
    return file + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{end}".encode()


def _with_resolution(png: bytes, dpi: float) -> bytes:
    """A PNG with a pHYs chunk, pixels per metre, after its header (PNG specification, section 11.3.5.3)."""
    per_metre = round(dpi / 0.0254).to_bytes(4, "big")
    body = b"pHYs" + per_metre * 2 + b"\x01"
    chunk = (9).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    header_end = 8 + 25
    return png[:header_end] + chunk + png[header_end:]

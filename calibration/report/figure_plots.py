"""Plots of figures: how errors are distributed, time offsets, and how well each parameter is known."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, MaxNLocator

from calibration.report.canvas import INK, LINE, MUTED, camera_colour, drawing, safe_name, text_room
from calibration.result.result import CalibrationResult, CameraFigures

_BINS = 24
_ROW = 30


def histogram_plot(camera_id: str, index: int, lengths_px: np.ndarray, width: int, most_px: float) -> str:
    """Lengths (n,) of a camera's residuals from 0 to `most_px`; what is longer counts in the last bar."""
    name = safe_name(camera_id)
    with drawing(f"histogram-{name}", width, 70 + width * 0.33, f"errors of {name}") as drawn:
        axes = drawn.axes(2, 34, 8, 16)
        shares, edges = np.histogram(np.minimum(lengths_px, most_px * (1 - 1e-9)), bins=_BINS, range=(0, most_px))
        axes.bar(edges[:-1], shares, width=most_px / _BINS * 0.88, align="edge", color=camera_colour(index), alpha=0.85)
        axes.set_xlim(0, most_px)
        axes.set_ylim(0, max(shares.max(), 1) * 1.12)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.tick_params(length=0, pad=5)
        axes.set_xlabel("error, px", labelpad=3)
        if len(lengths_px):
            median = float(np.median(lengths_px))
            axes.axvline(median, color=INK, linewidth=1.2)
            axes.annotate(
                f"median {median:.2f}", (median, 1), (4, -1), xycoords=("data", "axes fraction"),
                textcoords="offset points", va="bottom", ha="left", fontsize=11,
            )  # fmt: skip
    return drawn.svg


def offset_plot(cameras: Mapping[str, CameraFigures], width: int) -> str:
    """Time offsets in ms, with bars of two standard deviations."""
    height = _ROW * len(cameras) + 46
    with drawing("offsets", width, height, "time offsets") as drawn:
        axes = drawn.axes(_names_room(cameras), 40, 110, 6)
        reach = max(
            1.0, *((abs(one.time_offset_ns) + 2 * (one.time_offset_std_ns or 0)) / 1e6 for one in cameras.values())
        )
        axes.set_xlim(-1.25 * reach, 1.25 * reach)
        axes.set_ylim(len(cameras) - 0.5, -0.5)
        axes.axvline(0, color="#9aa5b1", linewidth=1)
        for row, (camera_id, one) in enumerate(cameras.items()):
            offset, colour = one.time_offset_ns / 1e6, camera_colour(row)
            axes.axhline(row, color=LINE, linewidth=0.8, zorder=0)
            if one.time_offset_std_ns is not None:
                axes.errorbar(
                    offset, row, xerr=2 * one.time_offset_std_ns / 1e6, color=colour, linewidth=2, capsize=5, capthick=2
                )
            axes.plot(offset, row, "o", color=colour, markersize=7)
            _label(axes, row, camera_id, 0, -8)
            std = "" if one.time_offset_std_ns is None else f" ± {one.time_offset_std_ns / 1e6:.1f}"
            _label(axes, row, f"{offset:+.1f}{std} ms".replace("-", "\N{MINUS SIGN}"), 1, 8)
        _bare(axes)
        axes.set_xlabel("time stamps late by, ms", labelpad=4)
    return drawn.svg


def uncertainty_plot(result: CalibrationResult, width: int) -> str:
    """One standard deviation of focal length, image centre, direction and position per camera."""
    cameras = result.cameras
    focal = {name: result.rig[name].camera.focal_px for name in cameras}
    measures = [
        ("focal length, %", [_focal_percent(one, focal[name]) for name, one in cameras.items()]),
        ("image centre, px", [float(np.hypot(*one.intrinsics_std[2:4])) for one in cameras.values()]),
        ("direction, degrees", [one.rotation_std_deg for one in cameras.values()]),
        ("position, mm", [one.position_std_mm for one in cameras.values()]),
    ]
    height, names_room = _ROW * len(cameras) + 34, _names_room(cameras)
    with drawing("uncertainty", width, height, "standard deviation of the parameters") as drawn:
        room = (width - names_room) / len(measures)
        for column, (title, values) in enumerate(measures):
            left = names_room + column * room
            axes = drawn.axes(left, 6, width - left - room + 62, 28)
            _uncertainty_column(axes, title, values, first_is_reference=column >= 2)
            if column == 0:
                for row, camera_id in enumerate(cameras):
                    _label(axes, row, camera_id, 0, -10)
    return drawn.svg


def _uncertainty_column(axes: Axes, title: str, values: Sequence[float], first_is_reference: bool) -> None:
    known = [value for value in values if np.isfinite(value)]
    axes.set_xlim(0, max([*known, 1e-9]))
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_title(title, fontsize=11.5, color=MUTED, loc="left", pad=10)
    for row, value in enumerate(values):
        if not np.isfinite(value):
            text = "unknown"
        elif value == 0:
            text = "reference" if first_is_reference and row == 0 else "held"
        else:
            text = f"{value:.1f}" if value >= 1 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"
            axes.barh(row, value, height=0.5, color=camera_colour(row), alpha=0.85)
        axes.annotate(
            text, (value if np.isfinite(value) else 0, row), (6, 0), textcoords="offset points", va="center_baseline",
            color=INK if value else MUTED, annotation_clip=False,
        )  # fmt: skip
    _bare(axes)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_visible(True)


def _focal_percent(one: CameraFigures, focal_px: float) -> float:
    return 100 * float(np.mean(one.intrinsics_std[:2])) / focal_px


def _names_room(camera_ids: Iterable[str]) -> float:
    return max(90.0, 20 + max(map(text_room, camera_ids)))


def _label(axes: Axes, row: int, text: str, side: int, away: int) -> None:
    """A text beside a row, `away` pixels outside of the axes' left (0) or right (1) `side`."""
    axes.annotate(
        text, (side, row), (away, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
        ha="left" if side else "right", va="center_baseline",
    )  # fmt: skip


def _bare(axes: Axes) -> None:
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0, pad=6)

"""The report's section on where cameras are: the rig in space, distances, and how cameras are linked."""

from collections.abc import Mapping

import numpy as np

from calibration.report.rig_plots import FEW_SHARED, pair_plot, rig_plot
from calibration.report.text import escape, number, plus_minus, table
from calibration.result.result import CalibrationResult

_MOST_LISTED = 4


def rig_section(result: CalibrationResult, known_distances_m: Mapping[tuple[str, str], float]) -> str:
    ids = result.rig.camera_ids
    text = "A line&rsquo;s width tells how often two cameras saw the board together, which ties one to the next."
    few = [f"{a} and {b}" for a, b in result.distances_m if 0 < _shared(result, (a, b)) < FEW_SHARED]
    if few:
        text += f" Red lines are weak, fewer than {FEW_SHARED} moments: {escape('; '.join(few))}."
    pairs = f"<figure>{pair_plot(ids, result.shared_views, 500)}<figcaption>{text}</figcaption></figure>"
    known = {frozenset(pair): distance for pair, distance in known_distances_m.items()}
    if len(ids) <= _MOST_LISTED:
        tables = f"<div>{_distance_list(result, known, list(result.distances_m))}</div></div>"
    else:
        measured = [pair for pair in result.distances_m if frozenset(pair) in known]
        beside = f"<div>{_distance_list(result, known, measured)}</div>" if measured else ""
        tables = f"{beside}</div>{_distance_matrix(result)}"
    return (
        "<section><h2>The rig</h2>"
        '<p class="lead">Cameras and, in grey, where the board was held. Red, green and blue lines are x, y and z of '
        "the world, where it is near.</p>"
        f'<div class="grid two"><figure>{rig_plot(result, 500, 380, False)}</figure>'
        f"<figure>{rig_plot(result, 500, 380, True)}</figure></div>"
        f'<div class="grid {"two" if tables.startswith("<div>") else "one"} links">{pairs}{tables}</section>'
    )


def _distance_list(
    result: CalibrationResult, known: Mapping[frozenset[str], float], pairs: list[tuple[str, str]]
) -> str:
    header = ["distance between", "mm", "±", *(["measured", "difference"] if known else []), "moments<br>together"]
    rows = []
    for pair in pairs:
        distance_m = result.distances_m[pair]
        row = [
            f"{escape(pair[0])} &ndash; {escape(pair[1])}",
            number(1000 * distance_m, ".1f"),
            number(1000 * result.distance_std_m.get(pair, np.nan), ".1f"),
        ]
        if known:
            true_m = known.get(frozenset(pair))
            difference = None if true_m is None else 1000 * (distance_m - true_m)
            row += [number(true_m and 1000 * true_m, ".1f", ""), number(difference, "+.1f", "")]
        rows.append([*row, str(_shared(result, pair))])
    return table(header, rows)


def _distance_matrix(result: CalibrationResult) -> str:
    ids = result.rig.camera_ids
    rows = []
    for row, a in enumerate(ids):
        cells = [escape(a)]
        for column, b in enumerate(ids):
            pair = (a, b) if row < column else (b, a)
            if row < column:
                distance_m, std_m = result.distances_m.get(pair), result.distance_std_m.get(pair)
                cells.append(plus_minus(distance_m and 1000 * distance_m, std_m and 1000 * std_m, ".1f"))
            else:
                cells.append("" if row == column else f"<i>{_shared(result, pair)}</i>")
        rows.append(cells)
    return (
        '<p class="lead" style="margin-top:20px">Distances between cameras in mm, with one standard deviation; below '
        "the diagonal, in grey, at how many moments both saw the board.</p>" + table(["", *map(escape, ids)], rows)
    )


def _shared(result: CalibrationResult, pair: tuple[str, str]) -> int:
    return result.shared_views.get(pair) or result.shared_views.get((pair[1], pair[0]), 0)

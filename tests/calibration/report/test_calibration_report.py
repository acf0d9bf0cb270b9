"""The calibration report: one file that needs nothing else and says what the result says."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from calibration.board.views import Detections
from calibration.image_cells import cell_counts
from calibration.report import ReportContext, report_html, write_report
from calibration.report.image_plots import nice_scale
from calibration.report.rig_plots import upright_axes
from calibration.report.text import number
from calibration.result.result import CalibrationResult
from tests.support.calibration_scene import synthetic_result

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Collects text, ids and references; fails on tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "clip-path"):
                self.references.append(value or "")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    def __contains__(self, words: str) -> bool:
        return words in re.sub(r"\s+", " ", "".join(self.text))


@pytest.mark.parametrize("cameras", [2, 4, 8])
def test_page_is_well_formed_and_loads_nothing(cameras):
    page = Page(report_html(synthetic_result(cameras)))
    assert len(page.ids) == len(set(page.ids))
    for reference in page.references:
        inside = re.fullmatch(r"(?:url\()?#([^)]+)\)?", reference)
        assert inside and inside[1] in page.ids, reference


_SVG = re.compile(r'<svg viewBox="0 0 ([\d.]+) .*?</svg>', re.DOTALL)
_LABEL = re.compile(r'<text style="([^"]*)" x="([-\d.]+)"[^>]*>([^<]+)</text>')


def named(result: CalibrationResult, names: Sequence[str]) -> CalibrationResult:
    """The same of cameras with other ids."""
    name = dict(zip(result.rig.camera_ids, names, strict=True))
    cameras = tuple(replace(camera, camera_id=name[camera.camera_id]) for camera in result.rig.cameras)
    return replace(
        result,
        rig=replace(result.rig, cameras=cameras),
        cameras={name[camera_id]: one for camera_id, one in result.cameras.items()},
        views=[replace(view, camera_id=name[view.camera_id]) for view in result.views],
        shared_views={(name[a], name[b]): count for (a, b), count in result.shared_views.items()},
    )


@pytest.mark.parametrize("cameras", [2, 3, 4, 8])
def test_the_longest_names_of_cameras_are_within_the_drawings(cameras):
    names = [f"{number}-left-upper-camera-of-studio-12" for number in range(cameras)]
    assert {len(name) for name in names} == {32}
    drawn = set()
    for found in _SVG.finditer(report_html(named(synthetic_result(cameras), names))):
        width = float(found[1])
        for style, x, label in _LABEL.findall(found[0]):
            if label in names:
                room = 6.6 * len(label)  # in a usual font of 12 px
                begin = float(x) - (1 if "anchor: end" in style else 0.5 if "anchor: middle" in style else 0) * room
                assert begin >= 0 and begin + room <= width, label
                drawn.add((width, label))
    assert drawn == {(width, name) for width in (500, 1000) for name in names}


def test_cameras_whose_names_have_no_english_letter_are_told_apart():
    left, right = "\N{CJK UNIFIED IDEOGRAPH-5DE6}", "\N{CJK UNIFIED IDEOGRAPH-53F3}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a font that is missing here may be where the page is read
        page = Page(report_html(named(synthetic_result(2), [left, right])))
    assert len(page.ids) == len(set(page.ids))


def test_page_asks_for_nothing_from_the_network():
    text = report_html(synthetic_result())
    text = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert not re.search(r"https?:|@import|<script|<img|<link|url\((?!#)", text)


def test_page_tells_verdict_reasons_remedies_and_figures():
    result = synthetic_result(4, "poor")
    page = Page(report_html(result, ReportContext("takes/board", "usthand calibrate --session takes/board")))
    assert "Poor" in page
    assert "saw the board in a third of its image only." in page
    assert result.remedies[0] in page
    assert f"{result.heldout.rmse_px:.2f}" in page
    assert f"{result.heldout.rigidity_mm_rms:.2f}" in page
    assert "usthand calibrate --session takes/board" in page
    for camera_id, figures in result.cameras.items():
        assert camera_id in page
        assert f"{figures.heldout_rmse_px:.2f}" in page
        assert f"{result.rig[camera_id].camera.focal_px:.1f}" in page
    for distance_m in result.distances_m.values():
        assert f"{1000 * distance_m:.1f}" in page


def test_known_distances_stand_beside_the_calibrated_ones():
    result = synthetic_result(4)
    true_m = result.distances_m["cam_0", "cam_1"] - 0.0123
    page = Page(report_html(result, ReportContext(known_distances_m={("cam_1", "cam_0"): true_m})))
    assert "+12.3" in page


def test_rejected_images_are_counted():
    result = synthetic_result(2, sets=10)
    detections = Detections(
        views={"cam_0": []},
        image_size={"cam_0": (1280, 720)},
        looked_at={"cam_0": 70},
        rejected={"cam_0": {"blur": 13}},
    )
    assert "board in 0 of 70 images; turned down: 13 blur" in Page(
        report_html(result, ReportContext(detections=detections))
    )


def test_text_of_the_user_cannot_become_markup():
    result = replace(synthetic_result(2, sets=10), warnings=["<script>alert(1)</script>"])
    assert "<script" not in report_html(result, ReportContext(session='<img src="x">'))


def test_a_camera_without_views_and_unknown_figures_are_shown_as_such():
    result = synthetic_result(2, sets=10)
    gone = replace(result.cameras["cam_1"], heldout_rmse_px=np.nan, region_rmse_px=np.full((3, 3), np.nan), frames=0)
    heldout = replace(result.heldout, rmse_px=np.nan, loo_px=np.nan)
    views = [view for view in result.views if view.camera_id == "cam_0"]
    page = Page(report_html(replace(result, cameras={**result.cameras, "cam_1": gone}, views=views, heldout=heldout)))
    assert "not seen" in page
    assert "nan" not in "".join(page.text).lower()


def test_same_result_gives_the_same_file(tmp_path: Path):
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, synthetic_result(2, sets=10))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_field_counts_agree_with_a_histogram():
    corners = np.random.default_rng(0).uniform([-0.5, -0.5], [1279.5, 719.5], (500, 2))
    limits = ((-0.5, 1279.5), (-0.5, 719.5))
    expected = np.histogram2d(corners[:, 0], corners[:, 1], bins=(8, 6), range=limits)[0].T
    np.testing.assert_array_equal(cell_counts(corners, (1280, 720)), expected)


def test_residuals_are_scaled_by_a_round_number_that_outliers_do_not_change():
    residuals = np.full((100, 2), 0.3)
    scale = nice_scale(residuals, (1280, 720))
    assert scale == 50
    residuals[:5] = 400
    assert nice_scale(residuals, (1280, 720)) == scale


def test_the_rig_is_drawn_upright_in_any_world():
    rig = synthetic_result(4, sets=2).rig
    np.testing.assert_allclose(upright_axes(rig)[2], [0, 0, 1], atol=0.02)
    turn = np.eye(4)
    turn[:3, :3] = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    turned = replace(rig, cameras=tuple(replace(c, T_cam_world=c.T_cam_world @ turn) for c in rig.cameras))
    axes = upright_axes(turned)
    np.testing.assert_allclose(axes[2], turn[:3, :3].T @ upright_axes(rig)[2], atol=1e-9)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)


def test_what_rounds_to_zero_has_no_sign():
    assert [number(value, "+.1f") for value in (-0.04, 0.04, -0.06, None)] == [
        "0.0",
        "0.0",
        "\N{MINUS SIGN}0.1",
        "&ndash;",
    ]

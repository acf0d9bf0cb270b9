"""The figures beside the browser's scene: what is wrong is said, and no text of a camera becomes HTML."""

import msgspec
import pytest

pytest.importorskip("viser")

from app.viewer.state import STALE_NS, Shown
from app.web.figures import figures_html
from tests.support.viewer_scene import make_set, report

NOW_NS = 10**12


def test_a_run_that_goes_well_stands_still_and_has_hostile_names() -> None:
    shown = Shown()
    assert "waiting for the first pose" in figures_html("title", shown, NOW_NS)
    cameras = {"<script>": msgspec.structs.replace(report(0, "lost"), detail="<img src=x onerror=alert(1)>", dropped=7)}
    for number in range(3):
        pose_set = make_set(NOW_NS + number * 33_000_000, 25_000_000, [], cameras)
        shown.take(pose_set, NOW_NS + number * 33_000_000)
    html = figures_html("<b>title", shown, NOW_NS + 70_000_000)
    assert "25 ms" in html and "7 dropped" in html and "lost" in html and "photon" not in html
    assert "<script" not in html and "<img" not in html and "<b>title" not in html
    assert "no pose for" in figures_html("title", shown, NOW_NS + STALE_NS + 100_000_000)


def test_photon_to_pose_is_there_where_it_was_measured() -> None:
    shown = Shown()
    pose_set = make_set(NOW_NS, 25_000_000)
    pose_set.hops_ns["light"] = NOW_NS - 61_000_000
    shown.take(pose_set, NOW_NS)
    html = figures_html("title", shown, NOW_NS)
    assert "photon to pose" in html and "61 ms" in html

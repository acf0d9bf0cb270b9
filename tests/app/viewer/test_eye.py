"""How the eye moves: mouse, following, views that are kept."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.viewer.follow import Follow
from app.viewer.orbit import moved, rolled, shifted, turned, zoomed
from app.viewer.saved_views import SavedViews, views_file
from app.viewer.view import Viewpoint, look_at
from calibration.rotations import rotation_angle
from tests.support.viewer_scene import TARGET_M

UP = np.array([0.0, 0.0, 1.0])
VIEW = Viewpoint(look_at(np.array([0.3, -0.8, 0.6]), TARGET_M, UP), 700.0, 1280, 720)
SECOND = 1_000_000_000


def test_a_drag_takes_what_is_before_the_pivot_along_and_keeps_the_horizon():
    near_m = TARGET_M + 0.1 * (VIEW.eye_world_m - TARGET_M)
    for by in ((30.0, 0.0), (0.0, 20.0), (-15.0, -25.0)):
        view = turned(VIEW, *by, TARGET_M, UP)
        shift_px = view.project(near_m) - VIEW.project(near_m)
        assert shift_px @ by > 0
        assert view.project(TARGET_M) == pytest.approx(VIEW.project(TARGET_M))
        # The picture's right stays level.
        assert view.T_view_world[0, :3] @ UP == pytest.approx(0, abs=1e-9)
        assert np.linalg.norm(view.eye_world_m - TARGET_M) == pytest.approx(np.linalg.norm(VIEW.eye_world_m - TARGET_M))
    half = turned(VIEW, 720.0, 0.0, TARGET_M, UP)
    assert rotation_angle(half.T_view_world[:3, :3] @ VIEW.T_view_world[:3, :3].T) == pytest.approx(np.pi)


def test_no_drag_goes_over_the_pole_and_thousands_keep_a_rotation():
    view = VIEW
    rng = np.random.default_rng(0)
    for _ in range(3000):
        right_px, down_px = rng.uniform(-40, 60, 2)
        view = turned(view, right_px, down_px, TARGET_M, UP)
    R = view.T_view_world[:3, :3]
    assert pytest.approx(np.eye(3), abs=1e-9) == R @ R.T
    assert R[1] @ UP < 0, "up is up"


def test_moving_zooming_and_rolling_do_what_the_mouse_did():
    view = moved(VIEW, 40.0, -25.0, TARGET_M)
    assert view.project(TARGET_M) == pytest.approx(VIEW.project(TARGET_M) + [40, -25])
    away_m = np.linalg.norm(VIEW.eye_world_m - TARGET_M)
    for steps, wanted_m in ((1, 0.9 * away_m), (-1, away_m / 0.9), (99, 0.05), (-99, 9.0)):
        near = zoomed(VIEW, steps, TARGET_M, 0.05, 9.0)
        assert np.linalg.norm(near.eye_world_m - TARGET_M) == pytest.approx(wanted_m)
        assert near.project(TARGET_M) == pytest.approx(VIEW.project(TARGET_M))
    turn = rolled(VIEW, 72.0)
    assert turn.eye_world_m == pytest.approx(VIEW.eye_world_m)
    assert rotation_angle(turn.T_view_world[:3, :3] @ VIEW.T_view_world[:3, :3].T) == pytest.approx(np.pi / 10)
    right_m = TARGET_M + 0.1 * VIEW.T_view_world[0, :3]
    assert turn.project(right_m)[1] > VIEW.project(right_m)[1], "to the right is clockwise"


def test_the_eye_that_follows_settles_where_the_hands_are_again_in_their_old_place():
    follow, view = Follow(), VIEW
    start_m, end_m = TARGET_M, TARGET_M + [0.2, -0.1, 0.05]
    view = shifted(view, follow.step(start_m, 0))
    assert view.T_view_world == pytest.approx(VIEW.T_view_world)
    for redraw in range(1, 91):
        view = shifted(view, follow.step(end_m, redraw * SECOND // 30))
        if redraw == 7:
            assert 0.3 < np.linalg.norm(view.eye_world_m - VIEW.eye_world_m) / np.linalg.norm(end_m - start_m) < 0.8
    assert view.project(end_m) == pytest.approx(VIEW.project(start_m), abs=0.01)
    assert follow.step(None, 4 * SECOND) == pytest.approx(np.zeros(3))


def test_kept_views_are_there_the_next_time_for_a_window_of_another_size(tmp_path: Path):
    path = tmp_path / "views" / "rig.yaml"
    other = replace(VIEW, T_view_world=look_at(np.array([1.0, 0, 0]), TARGET_M, UP))
    views = SavedViews(path)
    views.save(3, VIEW)
    views.save(9, other)
    views.save(3, other)
    views.save(3, VIEW)
    again = SavedViews(path)
    assert again.numbers() == [3, 9]
    found = again.get(3, 3840, 2160)
    assert found is not None and again.get(4, 1280, 720) is None
    assert found.T_view_world == pytest.approx(VIEW.T_view_world)
    assert found.project(TARGET_M + 0.1) == pytest.approx((VIEW.project(TARGET_M + 0.1) + 0.5) * 3 - 0.5)
    assert [file.name for file in path.parent.iterdir()] == ["rig.yaml"]


@pytest.mark.parametrize(
    "content",
    ["views: [1]", "{", "", "views:\n  3: {T_view_world: [[1, 2]], focal: 1}", "other: 3", "views:\n  a: 1"],
)
def test_a_file_of_views_that_is_none_is_left_out_and_said(content: str, tmp_path: Path, caplog):
    path = tmp_path / "rig.yaml"
    path.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert SavedViews(path).numbers() == []
    assert "saved views" in caplog.text or "T_view_world" in content


def test_views_that_cannot_be_kept_are_said_and_still_there(tmp_path: Path, caplog):
    (tmp_path / "file").write_text("")
    views = SavedViews(tmp_path / "file" / "rig.yaml")
    with caplog.at_level(logging.WARNING):
        views.save(1, VIEW)
    assert "could not be kept" in caplog.text and views.numbers() == [1]


def test_views_belong_to_a_rig_of_the_user(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert views_file("abc") == tmp_path / "usthand" / "views" / "abc.yaml"
    assert views_file("abc") != views_file("abd")

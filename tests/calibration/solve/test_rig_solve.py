"""The laws of a rig's solve: what its steps leave alone, and what they do not depend on."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

from calibration.board.views import Detections
from calibration.rotations import inverse_transform, make_transform, rotation_from_vector
from calibration.solve.intrinsics import Intrinsics
from calibration.solve.pair_graph import PairGraph
from calibration.solve.rig_solve import RigSolve
from calibration.solve.rig_state import OFFSET, ROW
from calibration.solve.view_poses import view_poses
from calibration.solve.view_table import BoardTable, make_table
from tests.support.board_scene import BOARD, arc_rig, board_path, observe

RIG = arc_rig(3, span_deg=80)
STEPS: dict[str, Callable[[RigSolve], RigSolve]] = {
    "adjust": RigSolve.adjust,
    "adjust afresh": lambda solve: solve.adjust(afresh=True),
    "hold undetermined": lambda solve: replace(
        solve, settings=replace(solve.settings, max_focal_std=0.0)
    ).hold_undetermined(),
    "free offsets": RigSolve.free_offsets,
    "free row times": RigSolve.free_row_times,
    "add sets": lambda solve: solve.add_sets(60),
}


def _seen(**errors: Any) -> Detections:
    """A board that moves fast."""
    rng = np.random.default_rng(4)
    return observe(RIG, BOARD, board_path(BOARD, 5, rng, pace_s=0.5), 75, rng, fps=15.0, **errors)


@pytest.fixture(scope="module")
def detections() -> Detections:
    return _seen()


@pytest.fixture(scope="module")
def lenses() -> Intrinsics:
    """The true ones, to be refined."""
    given = Intrinsics.of_rig(RIG)
    free = np.zeros(given.free.shape, dtype=bool)
    free[:, :6] = True
    return replace(given, free=free)


@pytest.fixture(scope="module")
def table(detections: Detections) -> BoardTable:
    return make_table(detections, BOARD, RIG.camera_ids)


@pytest.fixture(scope="module")
def solve(table: BoardTable, lenses: Intrinsics) -> RigSolve:
    return RigSolve.bootstrap(table, lenses, 40).adjust()


@pytest.fixture(scope="module")
def late(lenses: Intrinsics) -> RigSolve:
    """The stamps of one camera are late, and rows are read one after the other."""
    table = make_table(_seen(late_s={"cam_1": 0.02}, row_time_s=3e-5), BOARD, RIG.camera_ids)
    return RigSolve.bootstrap(table, lenses, 40).adjust()


def _std_m(solve: RigSolve) -> float:
    """Standard deviation of the least certain coordinate of a camera."""
    return float(np.sqrt(max(np.diag(solve.covariance[camera, :, camera])[3:6].max() for camera in range(3))))


def _arrays(value: Any, name: str = "solve") -> dict[str, np.ndarray]:
    """Copies of all arrays in a value and in what it holds."""
    if isinstance(value, np.ndarray):
        return {name: value.copy()}
    if not is_dataclass(value):
        return {}
    parts = (_arrays(getattr(value, each.name), f"{name}.{each.name}") for each in fields(value))
    return {key: array for part in parts for key, array in part.items()}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_gives_a_new_value_and_leaves_the_old_one(step: str, late: RigSolve) -> None:
    before, notes = _arrays(late), late.notes
    after = STEPS[step](late)
    assert after is not late
    assert len(before) > 30 and "solve.problem.free" in before and late.notes == notes
    for name, array in _arrays(late).items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_a_step_frees_what_it_says_and_notes_it(late: RigSolve) -> None:
    assert not late.problem.free[:, [OFFSET, ROW]].any() and late.notes == ()
    timed = late.free_offsets()
    assert timed.problem.free[:, OFFSET].all() and timed.notes[0].startswith("time offsets improve frames")
    np.testing.assert_allclose(timed.offset_s, np.array([-1, 2, -1]) * 0.02 / 3, atol=1e-3)
    rows = timed.free_row_times()
    assert rows.problem.free[:, ROW].all() and rows.notes[0] == timed.notes[0] and len(rows.notes) == 2
    np.testing.assert_allclose(rows.state.row_s, 3e-5, rtol=0.1)


def test_a_second_adjust_changes_nothing(solve: RigSolve) -> None:
    """To a twentieth of a standard deviation: the fit ends where the cost falls by less than 1e-4 of itself."""
    again = solve.adjust()
    np.testing.assert_allclose(again.state.centres_world_m, solve.state.centres_world_m, atol=0.05 * _std_m(solve))
    np.testing.assert_allclose(again.state.lens[:, :4], solve.state.lens[:, :4], rtol=1e-3)
    assert again.problem.sigma == pytest.approx(solve.problem.sigma, rel=1e-3)


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_a_bootstrap_does_not_depend_on_the_order_of_views(
    order: str, detections: Detections, lenses: Intrinsics, solve: RigSolve
) -> None:
    rng = np.random.default_rng(5)
    views = {
        camera_id: own[::-1] if order == "reversed" else [own[index] for index in rng.permutation(len(own))]
        for camera_id, own in detections.views.items()
    }
    mixed = make_table(replace(detections, views=views), BOARD, RIG.camera_ids)
    start, expected = RigSolve.bootstrap(mixed, lenses, 40), RigSolve.bootstrap(solve.table, lenses, 40)
    np.testing.assert_array_equal(start.use, expected.use)
    np.testing.assert_allclose(start.state.T_cam_world, expected.state.T_cam_world, atol=1e-9)


def test_the_world_may_lie_anywhere(solve: RigSolve, lenses: Intrinsics) -> None:
    """x_cam = T_cam_world x_world = (T_cam_world T_world_other) x_other: the solve moves with its start.

    With all sets in use: which of them differ most is told by axes of the world.
    """
    T = solve.state.T_cam_world
    T_world_other = make_transform(rotation_from_vector(np.array([0.4, -1.0, 0.3])), np.array([0.5, 2.0, -1.0]))
    moved = RigSolve.from_cameras(solve.poses, lenses, T @ T_world_other, 100).adjust(afresh=True)
    still = RigSolve.from_cameras(solve.poses, lenses, T, 100).adjust(afresh=True)
    np.testing.assert_allclose(
        moved.state.T_cam_world, still.state.T_cam_world @ T_world_other, atol=0.05 * _std_m(still)
    )


def test_the_order_of_cameras_does_not_matter(detections: Detections, lenses: Intrinsics, solve: RigSolve) -> None:
    order = [2, 0, 1]
    turned = replace(lenses, lens=lenses.lens[order], free=lenses.free[order])
    table = make_table(detections, BOARD, [RIG.camera_ids[number] for number in order])
    other = RigSolve.bootstrap(table, turned, 40).adjust()
    lengths = [
        np.linalg.norm(centres[:, None] - centres, axis=-1)
        for centres in (other.state.centres_world_m, solve.state.centres_world_m[order])
    ]
    np.testing.assert_allclose(lengths[0], lengths[1], atol=0.1 * _std_m(solve))


def test_more_sets_keep_what_fewer_decided(solve: RigSolve) -> None:
    more = solve.add_sets(60)
    assert more.use.sum() == 60 > solve.use.sum() == 40
    assert (more.problem.free == solve.problem.free).all()
    assert more.heldout is solve.heldout and solve.add_sets(10) is solve


def test_relative_poses_chain(table: BoardTable, lenses: Intrinsics) -> None:
    """T_c_a = T_c_b T_b_a, of poses that come from pairs of cameras alone, to what one board view is sure to."""
    graph = PairGraph.of(view_poses(table, lenses.lens, lenses.fisheye))
    T_1_0, T_2_1, T_2_0 = (graph.pairs[key].T_second_first for key in ((0, 1), (1, 2), (0, 2)))
    np.testing.assert_allclose(T_2_1 @ T_1_0, T_2_0, atol=0.03)
    T = graph.starts()[0]
    for (first, second), pair in graph.pairs.items():
        np.testing.assert_allclose(T[second] @ inverse_transform(T[first]), pair.T_second_first, atol=0.03)

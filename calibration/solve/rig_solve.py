"""A rig's calibration as one value, and the steps that make the next from it.

The way of a board corner, in the order of the steps:

1. `view_table` packs the corners of all views; `intrinsics` fits each camera's lens alone.
2. `RigSolve.bootstrap`: `view_poses` poses the board in each view, `pair_graph` chains cameras by what they see
   together and puts the board of every set in the world, `set_choice` takes the sets that differ most.
3. `adjust`: `corner_tracks` moves the corners to their sets' times, `bundle_adjustment` fits everything to them.
4. `hold_undetermined`, `free_offsets`, `free_shape`, `free_row_times`: what the footage shows is freed, what it does
   not is held.
5. `add_sets`: the last fit, to more sets. `corner_errors` judges by frames that were not used.

In the manner of `Calibration` of multical (O. Batchelor): no step changes the value it starts from.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from calibration.solve.board_shape import displacement_m
from calibration.solve.bundle_adjustment import covariance, estimate_shape, minimise
from calibration.solve.corner_errors import HeldOut, corner_errors
from calibration.solve.corner_tracks import at_set_times
from calibration.solve.input_checks import check_alone, check_linked
from calibration.solve.intrinsics import Intrinsics, lens_prior
from calibration.solve.misfit import causes
from calibration.solve.pair_graph import BoardPoses, PairGraph, board_poses
from calibration.solve.problem import Problem, robust_cost, robust_sigma
from calibration.solve.rig_state import CAMERA_PARAMETERS, LENS, OFFSET, POSE, ROW, MovedViews, RigState, residuals
from calibration.solve.set_choice import choose_sets, fold_sets
from calibration.solve.settings import SolveSettings
from calibration.solve.view_poses import ViewPoses, view_poses
from calibration.solve.view_table import BoardTable


@dataclass(frozen=True, kw_only=True, eq=False)
class RigSolve:
    """A rig between two steps of its solve.

    `boards`: where the board of every set was put before any fit. `state`: all unknowns as they are now, fitted to the
    sets `use` (S,). `problem`: the last fit, with the corners as it had them, what was `free`, and the noise it found.
    `held_focal_std` (C,): how unsure a focal length was that is held for it, zero for others. `converged`: whether the
    last fit got to where its cost is least. `notes` say what was tried and why it was kept or not. `tested`: the
    earlier value whose held-out errors stand for this one's.
    """

    poses: ViewPoses
    intrinsics: Intrinsics
    boards: BoardPoses
    state: RigState
    use: np.ndarray
    problem: Problem
    held_focal_std: np.ndarray
    converged: bool = False
    notes: tuple[str, ...] = ()
    tested: "RigSolve | None" = field(default=None, repr=False)
    settings: SolveSettings = SolveSettings()

    @classmethod
    def bootstrap(cls, table: BoardTable, intrinsics: Intrinsics, most_sets: int) -> "RigSolve":
        """The better of one or two starts after a short fit, at most `most_sets` sets in use.

        Raises UserError where the cameras are not linked.
        """
        poses = view_poses(table, intrinsics.lens, intrinsics.fisheye)
        graph = PairGraph.of(poses)
        if len(graph.groups()) > 1:
            # A board that is bent or not square makes poses of single views disagree.
            graph = PairGraph.of(poses, wider=cls.settings.wider)
        if len(graph.groups()) > 1:
            check_alone(table, intrinsics)
        check_linked(table, graph.groups())
        starts = [cls.from_cameras(poses, intrinsics, T, most_sets) for T in graph.starts()]
        tried = [
            replace(start, use=starts[0].use & np.isfinite(start.boards.error_px)).adjust(
                rounds=1, afresh=True, steps=SolveSettings().starting_steps
            )
            for start in starts
        ]
        return min(tried, key=lambda solve: solve.cost(solve.settings.first_sigma))

    @classmethod
    def from_cameras(
        cls, poses: ViewPoses, intrinsics: Intrinsics, T_cam_world: np.ndarray, most_sets: int,
        fixed: np.ndarray | None = None,
    ) -> "RigSolve":  # fmt: skip
        """Not yet fitted: cameras at `T_cam_world` (C, 4, 4), and each board where it fits them best.

        The poses of `fixed` cameras (C,) will stay, by default the first one's.
        """
        table, cameras = poses.table, len(T_cam_world)
        boards = board_poses(poses, T_cam_world)
        state = RigState(
            lens=intrinsics.lens, fisheye=intrinsics.fisheye, R=T_cam_world[:, :3, :3], t=T_cam_world[:, :3, 3],
            offset_s=table.offset_s.copy(), row_s=np.zeros(cameras), board_R=boards.R, board_t=boards.t,
        )  # fmt: skip
        free = np.zeros((cameras, CAMERA_PARAMETERS), dtype=bool)
        free[:, POSE] = (np.arange(cameras) > 0 if fixed is None else ~fixed)[:, None]
        free[:, LENS] = intrinsics.free
        prior = lens_prior(intrinsics.lens, intrinsics.models, table.image_size)
        return cls(
            poses=poses,
            intrinsics=intrinsics,
            boards=boards,
            state=state,
            use=choose_sets(table, boards, most_sets),
            problem=Problem(table=table, free=free, prior=prior),
            held_focal_std=np.zeros(cameras),
        )

    def adjust(self, rounds: int = 6, *, afresh: bool = False, steps: int | None = None) -> "RigSolve":
        """Fitted roughly to the sets in use; the corners are moved anew each round, until offsets and noise settle.

        `afresh`: the state is rough, so that the noise of the last fit is no guide, and offsets and row times are only
        freed once the rest fits roughly.
        """
        settings, wanted, free = self.settings, self.problem.free, self.problem.free.copy()
        timed = bool(wanted[:, [OFFSET, ROW]].any())
        state, problem, offset_s = self.state, self.problem, np.full(len(free), np.inf)
        converged = False
        sigma = settings.first_sigma if afresh else problem.sigma
        for number in range(rounds):
            free[:, OFFSET] = wanted[:, OFFSET] & (number > 0 or not afresh)
            free[:, ROW] = wanted[:, ROW] & (number > 1 or not afresh)
            moved = at_set_times(self.table, state.offset_s)
            problem = replace(problem, table=moved.select(self.use[moved.set]), free=free.copy(), sigma=sigma)
            solution = minimise(problem, state, steps or settings.steps, settings.rough_tolerance)
            state, converged = solution.state, solution.converged
            unknowns = 6 * len(np.unique(problem.table.set)) + int(free.sum())
            last, sigma = sigma, robust_sigma(problem.table, solution.residuals_px, unknowns)
            sigma = max(sigma, settings.least_sigma)
            settled = np.abs(state.offset_s - offset_s).max() < settings.settled_s
            offset_s = state.offset_s
            if settled and abs(np.log(sigma / last)) < settings.settled_sigma and number >= (1 + timed) * afresh:
                break
        return replace(self, state=state, problem=replace(problem, sigma=sigma), converged=converged)

    def settle(self) -> "RigSolve":
        """Fitted to the end; what was decided on the way stays, as do the held-out errors."""
        solution = minimise(self.problem, self.state, self.settings.steps, self.settings.tolerance)
        return replace(self, state=solution.state, converged=solution.converged, tested=self.tested or self)

    def hold_undetermined(self) -> "RigSolve":
        """With the focal lengths held that the footage leaves too unsure."""
        held = (self.focal_std > self.settings.max_focal_std) & ~self.intrinsics.given
        if not held.any():
            return self
        free = self.problem.free.copy()
        free[held, LENS.start : LENS.start + 2] = False
        state = replace(self.state, lens=np.where(held[:, None], self.intrinsics.lens, self.state.lens))
        held_std = np.where(held, self.focal_std, 0.0)
        problem = replace(self.problem, free=free)
        return replace(self, state=state, problem=problem, held_focal_std=held_std).adjust(afresh=True)

    def free_offsets(self) -> "RigSolve":
        """With a constant time offset per camera, if it is significant and frames that were not used fit better."""
        settings = self.settings
        stay = "stay as found from whole frames" if self.table.offset_s.any() else "stay zero"
        trial = self._freed(OFFSET, True).adjust()
        std_s = trial.offset_std_s
        if np.min(std_s) > settings.max_offset_std_s or not np.isfinite(std_s).all():
            least = 1000 * float(np.min(std_s))
            return self.noting(
                f"the board moved too slowly to tell time offsets (uncertain by {least:.0f} ms or more); they {stay}"
            )
        unsure = std_s > settings.max_offset_std_s
        if unsure.any():
            trial = self._freed(OFFSET, ~unsure).adjust()
            std_s = np.where(unsure, np.nan, trial.offset_std_s)
        if not (np.abs(trial.state.offset_s - self.table.offset_s) > settings.significant * std_s).any():
            return self.noting(
                "the cameras' time stamps agree within their uncertainty "
                f"({1000 * np.nanmax(std_s):.1f} ms); offsets {stay}"
            )
        if self.heldout is None or trial.heldout is None:
            return self.noting(f"too few moments to test time offsets; they {stay}")
        old, new = (one.errors.trimmed_rmse_px for one in (self.heldout, trial.heldout))
        if not new < settings.gain * old:
            return self.noting(
                f"time offsets do not improve frames that were not used ({old:.3f} to {new:.3f} pixels); they {stay}"
            )
        note = f"time offsets improve frames that were not used from {old:.3f} to {new:.3f} pixels (trimmed RMSE)"
        if unsure.any():
            names = ", ".join(self.table.camera_ids[camera] for camera in np.flatnonzero(unsure))
            note += f"; the board moved too slowly in front of {names}, whose offsets {stay}"
        return trial.noting(note)

    def free_shape(self) -> "RigSolve":
        """With the board's shape free, if it is far from flat and square, if that explains more than a camera that
        changed would, if both halves of the footage show it, and if frames that were not used fit no worse."""
        settings, table = self.settings, self.table
        flat_m, look = table.corners_m - table.centre_m, estimate_shape(self.problem, self.state)
        clear = (np.abs(look.values) > settings.shape_significant * look.std).any()
        large = displacement_m(flat_m, look.values, look.reach_m) > settings.shape_share * look.reach_m
        if not (clear and large) or causes(self.problem, self.state)[0].kind != "board":
            return self
        trial = replace(self, problem=replace(self.problem, shape_free=True), tested=None).adjust()
        if self.heldout is None or trial.heldout is None or not trial.converged:
            return self
        one, other = (state.shape for state in trial.heldout.fold_states)
        differ, size = (displacement_m(flat_m, shape, look.reach_m) for shape in ((one - other) / 2, trial.state.shape))
        old, new = (each.errors.trimmed_rmse_px for each in (self.heldout, trial.heldout))
        kept = differ < settings.shape_agreement * size and new < settings.shape_loss * old
        return replace(trial, tested=trial) if kept else self

    def free_row_times(self) -> "RigSolve":
        """With a row time per camera, if the fit improves and none is negative by much. They are not tested apart."""
        trial = self._freed(ROW, True).adjust(afresh=True)
        old, new = (
            float(np.median(np.linalg.norm(one.residuals_px, axis=-1)[one.problem.table.seen])) for one in (self, trial)
        )
        if new < self.settings.gain * old and (trial.state.row_s > -3 * trial._std(ROW)).all():
            note = f"rolling-shutter row times were kept ({old:.3f} to {new:.3f} pixels)"
            return replace(trial, tested=self.tested or self).noting(note)
        return self.noting("rolling-shutter row times did not improve the fit and stay zero")

    def add_sets(self, most_sets: int) -> "RigSolve":
        """Fitted to at most `most_sets` sets, if those are more. What the fewer decided stays, as do their errors."""
        use = choose_sets(self.table, self.boards, most_sets)
        if use.sum() <= self.use.sum():
            return self
        return replace(self, use=use, tested=self.tested or self).adjust()

    def noting(self, note: str) -> "RigSolve":
        """The same with one more note."""
        return replace(self, notes=(*self.notes, note), tested=self.tested or self)

    def _freed(self, parameter: int, which: np.ndarray | bool) -> "RigSolve":
        free = self.problem.free.copy()
        free[:, parameter] = which
        return replace(self, problem=replace(self.problem, free=free))

    @property
    def table(self) -> BoardTable:
        """The views as they were seen."""
        return self.poses.table

    @cached_property
    def residuals_px(self) -> np.ndarray:
        """Of the corners of the last fit, `problem.table`: (V, N, 2)."""
        return residuals(self.problem.table, self.state)

    def cost(self, sigma: float) -> float:
        """The robust cost of the last fit, were this the noise."""
        return robust_cost(replace(self.problem, sigma=sigma), self.state, self.residuals_px)

    @cached_property
    def covariance(self) -> np.ndarray:
        """Of the cameras' parameters, (C, 20, C, 20); zero for what was held."""
        return covariance(self.problem, self.state)

    @property
    def stated_covariance(self) -> np.ndarray:
        """The covariance as it may be told: NaN where the fit has not converged, as it holds at the least cost."""
        return self.covariance if self.converged else np.full_like(self.covariance, np.nan)

    def _std(self, parameter: int) -> np.ndarray:
        cameras = np.arange(len(self.covariance))
        return np.sqrt(np.maximum(self.covariance[cameras, parameter, cameras, parameter], 0))

    @property
    def offset_std_s(self) -> np.ndarray:
        """Standard deviation (C,) of the offsets about their mean; infinite where the footage says nothing."""
        std_s = self._std(OFFSET)
        return np.where(self.problem.free[:, OFFSET] & (std_s <= 0), np.inf, std_s)

    @property
    def focal_std(self) -> np.ndarray:
        """Standard deviation (C,) of the focal lengths as shares of them; of held ones, that for which they are."""
        cameras = np.arange(len(self.covariance))
        own = self.covariance[cameras, :, cameras][:, 6:8, 6:8]
        std = np.sqrt(np.maximum(own.sum((1, 2)) / 4, 0)) / self.state.lens[:, :2].mean(1)
        return np.where(self.held_focal_std > 0, self.held_focal_std, std)

    @property
    def offsets_known(self) -> bool:
        """Whether time offsets were found, by this fit or by the shift of whole frames that its table has."""
        return bool(self.problem.free[:, OFFSET].any() or self.table.offset_s.any())

    @property
    def offset_s(self) -> np.ndarray:
        """How late the cameras' stamps are (C,), about their mean; zero where that is not known."""
        return (self.state.offset_s - self.state.offset_s.mean()) * self.offsets_known

    @cached_property
    def heldout(self) -> HeldOut | None:
        """Errors of triangulated corners under rigs that did not see them: two folds, each judged by the other's fit.

        They start from the fit to both, which least squares forget. None where a fold is too small.
        """
        if self.tested is not None:
            return self.tested.heldout
        folds, parts = fold_sets(self.table), []
        for fold in (0, 1):
            train, test = self.use & (folds != fold), self.use & (folds == fold)
            if train.sum() < 3 or not test.any():
                return None
            state = replace(self, use=train).adjust(rounds=4).state
            parts.append((corner_errors(self.table, state, test), state))
        (first, one), (second, other) = parts
        return HeldOut(first.filled(second), (one, other))

    @cached_property
    def views(self) -> MovedViews:
        """All views under the solved rig, also those of sets that were not fitted."""
        moved = at_set_times(self.table, self.state.offset_s)
        return MovedViews(moved, residuals(moved, self.state), self.use[moved.set])

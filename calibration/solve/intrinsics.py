"""Lenses from one camera's own board views, and the choice of the lens model.

The focal length starts from the homographies of the board (Z. Zhang, "A flexible new technique for camera calibration",
PAMI 2000) and from fixed guesses; the least squares of `bundle_adjustment` do the rest for all cameras at once. Weak
priors hold what the footage does not determine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from calibration.camera import Camera, LensModel
from calibration.rig import Rig
from calibration.solve.bundle_adjustment import minimise
from calibration.solve.lens_derivatives import LENS_PARAMETERS, lens_count, lens_vector, project_views
from calibration.solve.problem import LensPrior, Problem, robust_sigma
from calibration.solve.rig_state import CAMERA_PARAMETERS, LENS, RigState, residuals
from calibration.solve.view_poses import refine_poses, view_poses
from calibration.solve.view_table import BoardTable

# Focal lengths tried first, in image widths: from fisheyes to telephoto lenses. A fisheye may see a half space in a
# circle that is as high as the image.
_GUESSES = (0.45, 0.6, 0.8, 1.1, 1.6, 2.6)
_FISHEYE_GUESSES = (0.18, 0.25, 0.32, 0.38, *_GUESSES)
# Views that differ most, of one camera: more hardly change its lens.
_VIEWS_FOR_START, _VIEWS_FOR_FIT, _VIEWS_FOR_TEST = 10, 30, 90
# Another lens model must lower the error of views not used to this share.
_MODEL_GAIN = 0.985
# A view counts for no more than so many times the best model's median: one that was read wrongly must not decide, but a
# model that holds in the middle of a wide image only must show.
_MOST_OF_MEDIAN = 4.0
# A pinhole model that misses by so many times what the fisheye does is named, and a lens that was given or asked for by
# what one that is found does.
_FAILS = 2.0
_NO_POSE_PX = 1000.0
# What lenses of cameras are like: standard deviations about a centred, square, undistorted lens.
_CENTRE_STD, _ASPECT_STD, _FOCAL_STD = 0.03, 0.005, 1.0
_PINHOLE_STDS = np.array([0.5, 0.5, 0.004, 0.004, 0.3, 0.3, 0.3, 0.3])
_FISHEYE_STDS = np.array([0.2, 0.2, 0.2, 0.2])
GIVEN_REMEDY = (
    "leave `--intrinsics` out, so that the lens is found from this footage, or give one that was calibrated at the "
    "same image size, zoom and focus"
)
# The tangent of the angle off the axis from which on lens models differ.
_WIDE = 0.65
# Of the image's width: where a pinhole model misses by more, others are tried.
_MISFIT = 0.0015


@dataclass(frozen=True, kw_only=True)
class Intrinsics:
    """Per camera: `lens` (C, 12), `models`, `free` (C, 12), all false for a lens that was given, and RMSE (C,).

    `notes`: which models do not hold for which camera. `unfit`: cameras by index whose lens was given, or its model
    asked for, and misses far more than one found from the same views, with that one's RMSE.
    """

    lens: np.ndarray
    models: tuple[LensModel, ...]
    free: np.ndarray
    rmse_px: np.ndarray
    notes: tuple[str, ...] = ()
    unfit: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of_rig(cls, rig: Rig) -> "Intrinsics":
        """The rig's own lenses, given."""
        lens = np.stack([lens_vector(camera.camera) for camera in rig.cameras])
        models: list[LensModel] = [camera.camera.lens for camera in rig.cameras]
        return cls.starting(lens, models, np.ones(len(lens), dtype=bool))

    @classmethod
    def starting(cls, lens: np.ndarray, models: Sequence[LensModel], held: np.ndarray) -> "Intrinsics":
        """Lenses (C, 12) not yet fitted; those `held` (C,) will not be."""
        has = np.array([np.arange(LENS_PARAMETERS) < lens_count(model) for model in models])
        free = has & ~held[:, None]
        return cls(lens=lens, models=tuple(models), free=free, rmse_px=np.full(len(lens), np.nan))

    def taking(self, which: np.ndarray, other: "Intrinsics") -> "Intrinsics":
        """These, with the lenses of cameras `which` (C,) from the other."""
        lens, free = (np.where(which[:, None], b, a) for a, b in ((self.lens, other.lens), (self.free, other.free)))
        models: list[LensModel] = list(self.models)
        for camera in np.flatnonzero(which):
            models[camera] = other.models[camera]
        return replace(
            self, lens=lens, models=tuple(models), free=free, rmse_px=np.where(which, other.rmse_px, self.rmse_px)
        )

    @property
    def fisheye(self) -> np.ndarray:
        return np.array([model == "fisheye4" for model in self.models])

    @property
    def given(self) -> np.ndarray:
        """Which cameras' lenses (C,) were given."""
        return ~np.any(self.free, axis=1)

    def unfit_text(self, camera_ids: Sequence[str]) -> tuple[str, str]:
        """That lenses are unfit, in words, and what to do."""
        worst = max(self.unfit, key=lambda camera: self.rmse_px[camera])
        names = " and of ".join(camera_ids[camera] for camera in sorted(self.unfit))
        given = bool(self.given[worst])
        text = (
            f"the {'given lens' if given else 'lens model that `--lens` asks for'} of {names} is not that of what was "
            f"filmed: even alone it misses the board by {'up to ' * (len(self.unfit) > 1)}"
            f"{self.rmse_px[worst]:.1f} pixels, one found from the same views by {self.unfit[worst]:.2f}"
        )
        return text, GIVEN_REMEDY if given else "leave `--lens` out, so that the model is found from this footage"


def lens_prior(lens: np.ndarray, models: Sequence[LensModel], sizes: Sequence[tuple[int, int]]) -> LensPrior:
    """The weak prior about a centred lens with the focal lengths of `lens` (C, 12)."""
    mean = np.zeros_like(lens)
    information = np.zeros((len(lens), LENS_PARAMETERS, LENS_PARAMETERS))
    for camera, (model, (width, height)) in enumerate(zip(models, sizes, strict=True)):
        focal = lens[camera, :2].mean()
        mean[camera, :4] = focal, focal, (width - 1) / 2, (height - 1) / 2
        stds = np.full(8, 1e-6)
        if model == "fisheye4":
            stds[:4] = _FISHEYE_STDS
        else:
            stds[: lens_count(model) - 4] = _PINHOLE_STDS[: lens_count(model) - 4]
        own = information[camera]
        own[[2, 3], [2, 3]] = 1 / (_CENTRE_STD * width) ** 2
        own[range(4, 12), range(4, 12)] = 1 / stds**2
        aspect, level = 1 / (_ASPECT_STD * focal) ** 2, 0.25 / (_FOCAL_STD * focal) ** 2
        own[:2, :2] = [[aspect + level, level - aspect], [level - aspect, aspect + level]]
    return LensPrior(mean, information)


def spread_views(table: BoardTable, camera: int, most: int) -> np.ndarray:
    """Indices of at most `most` views of the camera that differ most in place and size (farthest point first)."""
    views = np.flatnonzero(table.camera == camera)
    if len(views) <= most:
        return views
    count = table.seen[views].sum(1)[:, None]
    seen = table.seen[views][..., None]
    mean = (table.pixels[views] * seen).sum(1) / count
    spread = np.sqrt((((table.pixels[views] - mean[:, None]) * seen) ** 2).sum(1) / count)
    width = table.image_size[camera][0]
    feature = np.concatenate([mean / width, 3 * np.log(np.maximum(spread, 1)) / 4], axis=1)
    chosen = [int(np.argmax(table.seen[views].sum(1)))]
    distance = np.full(len(views), np.inf)
    while len(chosen) < most:
        distance = np.minimum(distance, ((feature - feature[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(np.argmax(distance * np.sqrt(count[:, 0]))))
    return np.sort(views[chosen])


def starting_lens(table: BoardTable, camera: int, model: LensModel) -> np.ndarray:
    """An undistorted lens (12,) whose focal length fits the camera's views best."""
    width, height = table.image_size[camera]
    views = table.select(spread_views(table, camera, _VIEWS_FOR_START))
    fisheye = np.full(len(table.camera_ids), model == "fisheye4")
    candidates = [guess * width for guess in (_FISHEYE_GUESSES if model == "fisheye4" else _GUESSES)]
    zhang = _zhang_focal(views, (width, height))
    if zhang is not None and model != "fisheye4":
        candidates.append(zhang)
    best, best_cost = candidates[0], np.inf
    for focal in candidates:
        lens = np.zeros((len(table.camera_ids), LENS_PARAMETERS))
        lens[:, :4] = focal, focal, (width - 1) / 2, (height - 1) / 2
        rmse = view_poses(views, lens, fisheye).rmse_px[:, 0]
        cost = float(np.minimum(rmse, 0.05 * width).mean())
        if cost < best_cost:
            best, best_cost = focal, cost
    out = np.zeros(LENS_PARAMETERS)
    out[:4] = best, best, (width - 1) / 2, (height - 1) / 2
    return out


def _zhang_focal(views: BoardTable, size: tuple[int, int]) -> float | None:
    """Focal length from the homographies with the centre held; None where no view is tilted enough."""
    rows, right = [], []
    middle = (np.array(size) - 1) / 2
    for view in range(len(views.views)):
        seen = views.seen[view]
        if seen.sum() < 6:
            continue
        H, _ = cv2.findHomography(views.points_m[view, seen, :2], (views.pixels[view, seen] - middle) / size[0])
        if H is None:
            continue
        H = H / np.linalg.norm(H[:, 0])
        a, b = H[:, 0], H[:, 1]
        rows += [a[0] * b[0] + a[1] * b[1], a[0] ** 2 + a[1] ** 2 - b[0] ** 2 - b[1] ** 2]
        right += [-a[2] * b[2], b[2] ** 2 - a[2] ** 2]
    if not rows:
        return None
    x, y = np.array(rows), np.array(right)
    inverse = float(x @ y) / max(float(x @ x), 1e-30)
    return size[0] / np.sqrt(inverse) if 1 / 36 < inverse < 16 else None


def fit_intrinsics(table: BoardTable, start: Intrinsics) -> Intrinsics:
    """Fit what is free of every camera's lens to its own views, all at once."""
    cameras = len(start.lens)
    chosen = np.concatenate([spread_views(table, camera, _VIEWS_FOR_FIT) for camera in range(cameras)])
    alone = table.select(chosen)
    poses = view_poses(alone, start.lens, start.fisheye)
    good = np.isfinite(poses.rmse_px[:, 0])
    alone = alone.select(good).each_view_alone()
    free = np.zeros((cameras, CAMERA_PARAMETERS), dtype=bool)
    free[:, LENS] = start.free
    state = RigState(
        lens=start.lens, fisheye=start.fisheye, R=np.broadcast_to(np.eye(3), (cameras, 3, 3)),
        t=np.zeros((cameras, 3)), offset_s=np.zeros(cameras), row_s=np.zeros(cameras),
        board_R=poses.R[good, 0], board_t=poses.t[good, 0],
    )  # fmt: skip
    prior = lens_prior(start.lens, start.models, table.image_size)
    problem = Problem(table=alone, free=free, prior=prior, sigma=2.0)
    for _ in range(2):
        solution = minimise(problem, state)
        sigma = robust_sigma(alone, solution.residuals_px, 6 * alone.set_count + int(free.sum()))
        state, problem = solution.state, replace(problem, sigma=max(sigma, 0.1))
    squared = (residuals(alone, state) ** 2).sum(-1)
    rmse = start.rmse_px.copy()
    for camera in np.unique(alone.camera):
        own = alone.camera == camera
        rmse[camera] = np.sqrt(squared[own].sum() / alone.seen[own].sum())
    return replace(start, lens=state.lens, rmse_px=rmse)


def view_errors_px(table: BoardTable, lens: np.ndarray, fisheye: np.ndarray) -> np.ndarray:
    """RMSE (V,) of the views with only their poses fitted; 1000 where there is no pose."""
    poses = view_poses(table, lens, fisheye)
    R, t = refine_poses(table, poses.R[:, 0], poses.t[:, 0], lens, fisheye)
    in_camera = table.points_m @ np.swapaxes(R, 1, 2) + t[:, None]
    pixels = project_views(in_camera, lens[table.camera], fisheye[table.camera])
    squared = ((pixels - table.pixels) ** 2).sum(-1) * table.seen
    rmse = np.sqrt(squared.sum(1) / np.maximum(table.seen.sum(1), 1))
    return np.minimum(np.nan_to_num(rmse, nan=_NO_POSE_PX, posinf=_NO_POSE_PX), _NO_POSE_PX)


def choose_intrinsics(table: BoardTable, wanted: str, given: Mapping[str, Camera]) -> Intrinsics:
    """Fit every camera's lens alone. `wanted` is a model or "auto"; lenses `given` by camera id are kept.

    "auto" starts from pinhole5 and, where corners lie far from the centre of a wide image, takes another model only if
    it fits views better that were not used. There a wanted pinhole model is compared with the fisheye, too.
    """
    held = np.array([camera_id in given for camera_id in table.camera_ids])
    models: list[LensModel] = ["pinhole5" if wanted == "auto" else wanted] * len(held)  # type: ignore[list-item]
    lens = np.zeros((len(held), LENS_PARAMETERS))
    for camera, camera_id in enumerate(table.camera_ids):
        if held[camera]:
            models[camera], lens[camera] = given[camera_id].lens, lens_vector(given[camera_id])
        else:
            lens[camera] = starting_lens(table, camera, models[camera])
    start = Intrinsics.starting(lens, models, held)
    fitted = fit_intrinsics(table, start)
    wide = (_wide_cameras(table, fitted.lens) | (fitted.rmse_px > _MISFIT * _widths(table))) & ~held
    chosen = fit_intrinsics(table, _better_models(table, start, wide, wanted)) if wide.any() else fitted
    return replace(chosen, unfit=_unfit(table, chosen, held | (wanted != "auto")))


def _unfit(table: BoardTable, chosen: Intrinsics, asked: np.ndarray) -> dict[int, float]:
    """Of the `asked` cameras (C,) those that miss far less with a lens found from their views, where any is far."""
    if not (asked & (chosen.rmse_px > _MISFIT * _widths(table))).any():
        return {}
    found_px = choose_intrinsics(table, "auto", {}).rmse_px
    return {
        int(camera): float(found_px[camera]) for camera in np.flatnonzero(asked & (chosen.rmse_px > _FAILS * found_px))
    }


def _widths(table: BoardTable) -> np.ndarray:
    return np.array([width for width, _ in table.image_size])


def _wide_cameras(table: BoardTable, lens: np.ndarray) -> np.ndarray:
    """Cameras (C,) with corners far enough off the axis that lens models differ."""
    away = np.linalg.norm(table.pixels - lens[table.camera, None, 2:4], axis=-1) / lens[table.camera, :1]
    return np.array(
        [bool(((away > _WIDE) & table.seen)[table.camera == camera].sum() > 20) for camera in range(len(lens))]
    )


def _better_models(table: BoardTable, start: Intrinsics, wide: np.ndarray, wanted: str) -> Intrinsics:
    """The start, with the model for `wide` cameras (C,) that fits the other views best when fitted to every second.

    The simplest that is no worse is kept: beyond pinhole5 that is fisheye4 with its four coefficients.
    A model that is `wanted` stays; where it does not hold, a note says so.
    """
    cameras = np.flatnonzero(wide)
    chosen = np.concatenate([spread_views(table, int(camera), _VIEWS_FOR_FIT)[::2] for camera in cameras])
    others = np.concatenate([spread_views(table, int(camera), _VIEWS_FOR_TEST) for camera in cameras])
    train, test = table.select(chosen), table.select(np.setdiff1d(others, chosen))
    choices: dict[str, tuple[LensModel, ...]] = {
        "auto": ("pinhole5", "fisheye4", "pinhole8"),
        "pinhole5": ("pinhole5", "fisheye4"),
        "pinhole8": ("pinhole8", "fisheye4"),
    }
    tried: dict[LensModel, tuple[Intrinsics, np.ndarray]] = {}
    for model in choices.get(wanted, ()):
        lens = start.lens.copy()
        models: list[LensModel] = [model] * len(wide)
        if model == "fisheye4":
            lens[cameras] = [starting_lens(table, int(camera), model) for camera in cameras]
        trial = start.taking(wide, Intrinsics.starting(lens, models, ~wide))
        fitted = fit_intrinsics(train, replace(trial, free=trial.free & wide[:, None]))
        tried[model] = trial, view_errors_px(test, fitted.lens, fitted.fisheye)
    found, notes = start, []
    for camera in cameras:
        own: dict[LensModel, np.ndarray] = {
            model: errors[test.camera == camera] for model, (_, errors) in tried.items()
        }
        if not own or not len(own["fisheye4"]):
            continue
        most = _MOST_OF_MEDIAN * min(float(np.median(errors)) for errors in own.values())
        score = {model: float(np.sqrt(np.mean(np.minimum(errors, most) ** 2))) for model, errors in own.items()}
        if wanted == "auto":
            best: LensModel = "pinhole5"
            for model in own:
                best = model if score[model] < _MODEL_GAIN * score[best] else best
            found = found.taking(np.arange(len(wide)) == camera, tried[best][0])
        if min(score[model] for model in own if model != "fisheye4") > _FAILS * score["fisheye4"]:
            notes.append(_pinhole_note(table.camera_ids[camera], own, wanted))
    return replace(found, notes=tuple(notes))


def _pinhole_note(camera_id: str, errors_px: Mapping[LensModel, np.ndarray], wanted: str) -> str:
    rms = {model: float(np.sqrt(np.mean(errors**2))) for model, errors in errors_px.items()}
    pinhole = min(rms[model] for model in rms if model != "fisheye4")
    note = (
        f"the view of camera {camera_id} is too wide for a pinhole model: on views that were not used "
        f"{'it misses' if wanted != 'auto' else 'the better one misses'} by {pinhole:.1f} pixels, fisheye4 by "
        f"{rms['fisheye4']:.2f}"
    )
    return note if wanted == "auto" else f"{note}; leave `--lens` out, or give `--lens fisheye4`"

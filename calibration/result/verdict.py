"""Good, usable or poor: with the reason, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration.board.board import Board
from calibration.result.result import BoardFigures, CameraFigures, CauseFigures, ImageFigures, Verdict

_LEVELS: tuple[Verdict, ...] = ("good", "usable", "poor")


# Percent by which a print's squares may be wider than high: half of it is in doubt in every length.
_STRETCH_PERCENT, _POOR_STRETCH_PERCENT = 0.4, 2.0
# A bend beyond this share of the half diagonal is no longer a slight one.
_BEND_SHARE = 0.12
# How many times as far as alone a camera may miss with the others: up to 4.6 of a soft print in a moving hand, and what
# is then worse than that and far worse.
APART, _FAR_APART = 6.0, 12.0
# Pixels of an image 1280 wide: no camera is taken to fit better alone.
_LEAST_ALONE_PX = 0.03
_NOT_THE_BOARD_PX = 3.0
# As near as this to a power of ten it is the unit that is wrong, not the board: a wrong print is less far off.
_UNIT_WITHIN = 1.3


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the verdict rests on. `converged`: whether the fit got to where its cost is least. `pixel_scale` makes
    pixels those of an image 1280 wide; `working_distance_m` is the board's median distance.

    `focal_std` and `tilt_deg` (the spread of board tilts) per camera; `held` names cameras whose focal length could not
    be determined, `unfit` those whose lens, given or asked for, misses alone what one of their own does not;
    `scale_bias_percent` against known distances, None without them.
    """

    converged: bool
    unfit: tuple[str, ...] = ()
    heldout: ImageFigures | None
    pixel_scale: float
    board: Board
    working_distance_m: float
    cameras: Mapping[str, CameraFigures]
    focal_std: Mapping[str, float]
    tilt_deg: Mapping[str, float]
    held: tuple[str, ...]
    shared_moments: Mapping[str, int]
    scale_bias_percent: float | None
    median_rmse_px: float
    shape: BoardFigures
    cause: CauseFigures | None


class _Findings:
    def __init__(self) -> None:
        self.level = 0
        self.reasons: list[str] = []
        self.remedies: list[str] = []

    def add(self, level: Verdict, reason: str, remedy: str) -> None:
        self.level = max(self.level, _LEVELS.index(level))
        self.reasons.append(reason)
        self.remedies.append(remedy)

    def graded(self, value: float, usable: float, poor: float, reason: str, remedy: str) -> None:
        """Adds a finding where the value is above `usable` (or is not a number), a grave one above `poor`."""
        if not value <= usable:
            self.add("usable" if value <= poor else "poor", reason, remedy)


def judge(evidence: Evidence) -> tuple[Verdict, list[str], list[str]]:
    """The verdict, its reasons, and a remedy for each."""
    findings = _Findings()
    if not evidence.converged:
        findings.add(
            "poor",
            "the fit has not settled, so that nobody knows how uncertain it is",
            "film more board poses, tilted, that neighbouring cameras see together, or give lenses with `--intrinsics`",
        )
    _judge_footage(evidence, findings)
    _judge_errors(evidence, findings)
    _judge_board(evidence, findings)
    _judge_agreement(evidence, findings)
    _judge_cameras(evidence, findings)
    bias = evidence.scale_bias_percent
    if bias is not None:
        findings.graded(
            abs(bias), 0.5, 2.0,
            f"distances come out {abs(bias):.1f} % {'longer' if bias > 0 else 'shorter'} than the known ones",
            _scale_remedy(evidence, known_by_solved=1 / (1 + bias / 100)),
        )  # fmt: skip
    return _LEVELS[findings.level], findings.reasons, findings.remedies


def _scale_remedy(evidence: Evidence, known_by_solved: float) -> str:
    for times in (1000, 100, 0.001):
        if abs(np.log(known_by_solved / times)) < np.log(_UNIT_WITHIN):
            return (
                f"look at the unit: the known distances are about {times} times those solved; `--distance A-B=METRES` "
                "takes metres"
            )
    squares_mm = evidence.shape.square_mm if evidence.shape.solved else np.multiply(1000, evidence.board.squares_m)
    sides = [side * known_by_solved for side in squares_mm]
    fitting = " x ".join(f"{side:.2f}" for side in (sides if sides[0] != sides[1] else sides[:1]))
    return (
        f"measure a square of the board: board.yaml says {evidence.board.squares_text_mm} mm, the known distances fit "
        f"{fitting} mm"
    )


def _judge_footage(evidence: Evidence, findings: _Findings) -> None:
    for camera_id, moments in evidence.shared_moments.items():
        if moments < 12:
            findings.add(
                "usable" if moments >= 6 else "poor",
                f"camera {camera_id} shares only {moments} moments of the board with others",
                f"film the board for longer where {camera_id} and another camera see it: 20 poses, tilted, at several "
                "distances",
            )
    for camera_id, tilt in evidence.tilt_deg.items():
        if tilt < 12:
            findings.add(
                "usable" if tilt >= 6 or camera_id not in evidence.held else "poor",
                f"camera {camera_id} saw the board at nearly one tilt (within {tilt:.0f} degrees)",
                f"tilt the board by 30 to 45 degrees, to all sides, in front of {camera_id}",
            )
    for camera_id in evidence.held:
        findings.add(
            "poor",
            f"the footage does not determine the focal length of camera {camera_id} "
            f"({100 * evidence.focal_std[camera_id]:.0f} % uncertain), so it was held",
            f"tilt the board by 30 to 45 degrees and move it nearer and farther in front of {camera_id}, "
            "or give its intrinsics",
        )


def _pixels(value: float) -> str:
    return f"{value:.2f} pixels" if value < 1000 else "over 1000 pixels"


def _judge_errors(evidence: Evidence, findings: _Findings) -> None:
    heldout = evidence.heldout
    if heldout is None:
        findings.add(
            "poor", "there are too few moments to keep some aside as a test", "film the board for at least 20 poses"
        )
        return
    rmse = heldout.trim_rmse_px * evidence.pixel_scale
    findings.graded(
        rmse, 0.9, 2.0,
        f"corners of frames that were not used miss by {_pixels(heldout.trim_rmse_px)}",
        "move the board more slowly, add light for a shorter exposure, and keep it flat; check that no camera moved "
        "and that the time stamps are right",
    )  # fmt: skip
    rigid = heldout.rigidity_mm_rms / (1000 * evidence.working_distance_m)
    findings.graded(
        rigid, 0.0012, 0.004,
        f"neighbouring corners come out {heldout.rigidity_mm_rms:.2f} mm (rms) off their true distance",
        "check that the board is flat and stiff, and film it nearer to the cameras",
    )  # fmt: skip


def _judge_board(evidence: Evidence, findings: _Findings) -> None:
    """A stretch that was solved for leaves open which of the two sides is as board.yaml says."""
    shape, stretch = evidence.shape, abs(evidence.shape.stretch_percent)
    width, height = shape.square_mm
    if shape.solved and evidence.scale_bias_percent is None:
        findings.graded(
            stretch, _STRETCH_PERCENT, _POOR_STRETCH_PERCENT,
            f"the print is not square: its squares are {width:.2f} mm wide and {height:.2f} mm high (± "
            f"{shape.square_std_mm:.3f}) if their mean is as board.yaml says, so lengths may be off by "
            f"{stretch / 2:.1f} %",
            "measure a row and a column of squares with a ruler, and put a square's width and height into board.yaml: "
            "`square_m: [WIDTH, HEIGHT]`",
        )  # fmt: skip
    if shape.solved:
        findings.graded(
            shape.bend_mm / shape.reach_mm, _BEND_SHARE, np.inf,
            f"the board is bent by {shape.bend_mm:.0f} mm (± {shape.bend_std_mm:.1f}), more than it can be solved for",
            "glue it to something flat and stiff",
        )  # fmt: skip


def farthest_apart(cameras: Mapping[str, CameraFigures], pixel_scale: float) -> tuple[float, float, str]:
    """What the camera misses by alone and with the others, and its name, for which these are farthest apart."""
    figures = [
        (max(one.intrinsic_rmse_px, _LEAST_ALONE_PX / pixel_scale), one.rmse_px, camera_id)
        for camera_id, one in cameras.items()
        if np.isfinite(one.rmse_px + one.intrinsic_rmse_px)
    ]
    return max(figures, key=lambda each: each[1] / each[0], default=(1.0, 0.0, ""))


def _judge_agreement(evidence: Evidence, findings: _Findings) -> None:
    """One board for all cameras, against each camera alone: what a camera alone fits well and with the others does not
    is no noise, however small."""
    alone, joint, name = farthest_apart(evidence.cameras, evidence.pixel_scale)
    alone_px = [one.intrinsic_rmse_px for camera_id, one in evidence.cameras.items() if camera_id not in evidence.unfit]
    least = min(alone_px, default=0.0) * evidence.pixel_scale
    if least > _NOT_THE_BOARD_PX:
        findings.add(
            "poor",
            f"every camera misses the board's corners by {_pixels(least)} or more, even alone",
            "compare `columns`, `rows` and `square_m` in board.yaml with the print: this is likely not the board that "
            "was filmed",
        )
        return
    cause = evidence.cause
    apart = joint > APART * alone
    if cause is None and not apart:
        return
    reason = f"camera {name} fits to {alone:.2f} pixels alone, but to {_pixels(joint)} with the others" if apart else ""
    remedy = (
        "look at its time stamps, whether a camera moved, focused anew or stabilises its image, and whether the board "
        "is stiff"
    )
    if cause is not None:
        reason += (
            f"{': ' if apart else ''}{cause.text}; that explains {100 * cause.share:.0f} % of what cameras miss by"
        )
        remedy = cause.remedy
    # What lies between frames in a fast motion is noise to the fit, as large as it may be.
    far = joint > _FAR_APART * alone and (cause is None or cause.kind != "motion")
    findings.add("poor" if far else "usable", reason, remedy)


def _judge_cameras(evidence: Evidence, findings: _Findings) -> None:
    for camera_id, figures in evidence.cameras.items():
        rmse = figures.rmse_px * evidence.pixel_scale
        if rmse > 1.5 and rmse > 2.5 * evidence.median_rmse_px * evidence.pixel_scale:
            findings.add(
                "poor" if rmse > 4 else "usable",
                f"camera {camera_id} misses by {_pixels(figures.rmse_px)}, the others by "
                f"{_pixels(evidence.median_rmse_px)}",
                f"check {camera_id}: its time stamps, that it did not move, that its image is not stabilised",
            )
        if evidence.converged:
            _judge_uncertainty(evidence, camera_id, figures, findings)
        if np.isfinite(figures.coverage) and figures.coverage < 0.15:
            findings.add(
                "usable",
                f"camera {camera_id} saw corners in only {100 * figures.coverage:.1f} % of its image",
                f"move the board through the whole image of {camera_id}, into the corners too",
            )


def _judge_uncertainty(evidence: Evidence, camera_id: str, figures: CameraFigures, findings: _Findings) -> None:
    share = figures.position_std_mm / 1000 / evidence.working_distance_m
    findings.graded(
        share, 0.004, 0.02,
        f"the position of camera {camera_id} is uncertain by {figures.position_std_mm:.1f} mm",
        f"film more board poses that {camera_id} and its neighbours see together, over the whole working volume",
    )  # fmt: skip
    if camera_id not in evidence.held:
        uncertain = evidence.focal_std.get(camera_id, 0.0)
        findings.graded(
            uncertain, 0.012, 0.03,
            f"the focal length of camera {camera_id} is uncertain by {100 * uncertain:.1f} %",
            f"tilt the board more in front of {camera_id}, and move it nearer and farther",
        )  # fmt: skip

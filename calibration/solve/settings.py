"""The thresholds of a rig's solve."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SolveSettings:
    first_sigma: float = 3.0
    """Noise of a corner, over what its detector expects, while poses are still rough: keeps far corners in the fit."""
    wider: float = 4.0
    """How many times as far as usual single views may miss where cameras are not linked otherwise."""
    least_sigma: float = 0.05
    """Noise is never taken for less: simulated corners are exact, and would make weights infinite."""
    steps: int = 50
    """Levenberg-Marquardt steps of a round, at most: a fit that takes more is not to be trusted."""
    tolerance: float = 0.05
    """The fit ends so many standard deviations from the least cost: a twentieth of what noise does anyway."""
    rough_tolerance: float = 0.3
    """And its rounds on the way there, which decide what is free and how corners are moved."""
    starting_steps: int = 12
    """Steps by which two starts are compared."""
    settled_s: float = 2e-4
    """Rounds end where no offset changes more: a corner at 500 px/s then moves by a tenth of a pixel."""
    settled_sigma: float = 0.03
    """And where the noise changes by less than this share."""
    max_focal_std: float = 0.03
    """Share of the focal length: one less sure than this is held where the camera's own views put it."""
    max_offset_std_s: float = 0.005
    """Offsets less sure than this stay zero: the board moved too slowly to show them."""
    significant: float = 2.5
    """Standard deviations by which an offset must differ from zero before it is tried."""
    shape_significant: float = 5.0
    """Standard deviations by which the board must differ from a flat and square one before its shape is tried: more
    than for offsets, as a wrong shape would bend all that is measured."""
    shape_share: float = 0.001
    """And by which share of its half diagonal a corner must be displaced: less does nothing to lengths that shows."""
    shape_agreement: float = 0.35
    """Share of the shape by which its two halves' shapes may differ from their mean: more is no shape of a board."""
    shape_loss: float = 1.005
    """A shape is kept where it does not raise the held-out error beyond this share: noise hides what it gains."""
    gain: float = 0.98
    """Offsets and row times are kept where they lower the error to this share: less comes by chance."""

"""What a robust triangulation takes for noise and what for a mistake."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RobustSettings:
    """Lengths of residuals are in units of their expected error, stds."""

    cauchy_stds: float = 3.0
    """At this length an observation counts half, and a link of a known length pulls no harder (Cauchy; Huber)."""
    inlier_stds: float = 3.0
    """What is farther off is called an outlier: of the lengths of two normal errors 1.1 % are."""
    view_stds: float = 3.0
    """At this median over a group's points a view counts half for all of them: a detection of something else."""
    group_share: float = 1.0
    """How much the mean cost of a group's points weighs beside a point's own when its subset of views is chosen."""
    prior_freedom: float = 6.0
    """Measurements per point as which the expected variance of 1 counts beside the residuals that there are."""


ROBUST = RobustSettings()

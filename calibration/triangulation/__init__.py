"""Points from their images in several views."""

from calibration.triangulation.gauss_newton import Linearised, linearise_pinhole, refine
from calibration.triangulation.linear import dlt_equations, nearest_to_lines, solve3
from calibration.triangulation.links import Links
from calibration.triangulation.observations import Observations, moving_projections
from calibration.triangulation.robust import Triangulation, triangulate, triangulate_without_each

__all__ = [
    "Linearised",
    "Links",
    "Observations",
    "Triangulation",
    "dlt_equations",
    "linearise_pinhole",
    "moving_projections",
    "nearest_to_lines",
    "refine",
    "solve3",
    "triangulate",
    "triangulate_without_each",
]

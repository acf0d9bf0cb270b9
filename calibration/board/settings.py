"""When a board's corners are trusted, and how closely an image is searched for them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BoardDetectorSettings:
    """What turns a view, or one corner of it, down."""

    least_corners: int = 4
    """Fewer fix no homography."""
    least_contrast: float = 25.0
    """Grey levels from dark to bright squares: with less, one level of noise moves a corner by more than all else does,
    as the detector's `corner_std_px` has it."""
    widest_edge_squares: float = 0.3
    """Width of the edge between black and white, in squares: more is motion or defocus. Where squares are small,
    `widest_edge_px` holds."""
    widest_edge_px: float = 5.0
    least_saddle: float = 0.25
    """Share of the contrast that a corner's own four squares must show: a finger over one of them leaves less."""
    farthest_moved_reach: float = 0.4
    """How far refinement may move a corner, as a share of the room that its edges have, or `farthest_moved_px`."""
    farthest_moved_px: float = 2.5
    least_reach_px: float = 4.0
    """Length of the edges around a corner; shorter ones give no direction."""
    most_twice: int = 3
    """Markers that are seen twice from which on there are two boards alike, of which nobody knows which is which."""
    farthest_marker_squares: float = 1.7
    """How far from the nearest marker seen a corner may lie: the next square's diagonal, and a little."""


@dataclass(frozen=True, kw_only=True)
class BoardTrackerSettings:
    """How a camera's successive images are searched."""

    coarse_side_px: int = 640
    """Side of the small copy in which a lost board is searched."""
    fine_side_px: int = 1280
    """Side of the copy for boards far away, and most pixels of the region around a known board."""
    fine_search_every: int = 8
    """Images without a board between two searches at the fine size, which costs about four times the coarse one."""


DETECTOR = BoardDetectorSettings()
TRACKER = BoardTrackerSettings()

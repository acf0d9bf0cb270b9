"""Signed distance functions of rounded shapes, and their smooth unions.

Every function takes points (..., 3) and gives distances (...) in the points' unit, negative inside. The distances of
the ellipsoid and of the sweep are first-order approximations that are exact on the surface, which is all that an
isosurface needs. The round cone, the triangle and the polynomial smooth minimum follow I. Quilez, "Distance functions"
and "Smooth minimum" (iquilezles.org).
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator


def smooth_union(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    """The union of two shapes with a fillet about `blend` wide where they meet."""
    overlap = np.maximum(blend - np.abs(a - b), 0)
    return np.minimum(a, b) - overlap**2 / (4 * blend)


def smooth_difference(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    """Shape a without shape b, the rim rounded."""
    return -smooth_union(-a, b, blend)


def ellipsoid(points: np.ndarray, centre, radii, axes=None) -> np.ndarray:
    """An ellipsoid; `axes` (3, 3) holds its unit axes as rows (default: the coordinate axes)."""
    local = points - np.asarray(centre, points.dtype)
    if axes is not None:
        local = local @ np.asarray(axes, points.dtype).T
    scaled = local / np.asarray(radii, points.dtype)
    length = np.linalg.norm(scaled, axis=-1)
    gradient = np.linalg.norm(scaled / np.asarray(radii, points.dtype), axis=-1)
    return length * (length - 1) / np.maximum(gradient, 1e-9)


def round_cone(points: np.ndarray, start, end, radius_start: float, radius_end: float) -> np.ndarray:
    """Two spheres and the cone that touches both."""
    start, end = np.asarray(start, points.dtype), np.asarray(end, points.dtype)
    along = end - start
    length = float(np.linalg.norm(along))
    local = points - start
    y = local @ (along / length)
    x = np.sqrt(np.maximum(np.sum(local * local, axis=-1) - y * y, 0))
    slope = (radius_start - radius_end) / length
    rise = np.sqrt(1 - slope * slope)
    k = rise * y - slope * x
    return np.where(
        k < 0,
        np.hypot(x, y) - radius_start,
        np.where(k > rise * length, np.hypot(x, y - length) - radius_end, x * rise + y * slope - radius_start),
    )


def triangle(points: np.ndarray, a, b, c, radius: float) -> np.ndarray:
    """All that lies within `radius` of a triangle."""
    corners = np.asarray([a, b, c], points.dtype)
    edges = np.roll(corners, -1, axis=0) - corners
    normal = np.cross(edges[0], edges[1])
    normal /= np.linalg.norm(normal)
    inside = np.ones(points.shape[:-1], bool)
    to_edge = np.full(points.shape[:-1], np.inf, points.dtype)
    for corner, edge in zip(corners, edges, strict=True):
        local = points - corner
        t = np.clip(local @ edge / (edge @ edge), 0, 1)
        to_edge = np.minimum(to_edge, np.linalg.norm(local - t[..., None] * edge, axis=-1))
        inside &= local @ np.cross(normal, edge) >= 0
    return np.where(inside, np.abs((points - corners[0]) @ normal), to_edge) - radius


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A limb along a chain of bones: at each station an oval section, flatter or fuller on either side.

    A station is the number of bones before it plus the fraction of the bone that it lies on, so 1.5 is the middle of
    the second bone. The limb ends in a half ellipsoid, `cap` long, whose pole is the chain's end.

    joints: (n + 1, 3) ends of the n bones. axes: (n, 3, 3) per bone rows along, lateral, up. profile: (m, 4) rows
    station, half-width, height above the chain (towards up), depth below it.
    """

    joints: np.ndarray
    axes: np.ndarray
    profile: np.ndarray
    cap: float
    exponent: float = 2.3

    def coordinates(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Station, lateral offset, upward offset, each (...), and the length (...) by which a point passes the end."""
        best = np.full(points.shape[:-1], np.inf)
        station, lateral, up, beyond = (np.zeros(points.shape[:-1]) for _ in range(4))
        bones = len(self.axes)
        for i in range(bones):
            along, side, normal = self.axes[i].astype(points.dtype)
            local = points - self.joints[i].astype(points.dtype)
            length = float(np.linalg.norm(self.joints[i + 1] - self.joints[i]))
            x = local @ along
            t = np.clip(x / length, -np.inf if i == 0 else 0, np.inf if i == bones - 1 else 1)
            u, v = local @ side, local @ normal
            off = u * u + v * v + (x - t * length) ** 2
            nearer = off < best
            best = np.where(nearer, off, best)
            station, lateral, up = (
                np.where(nearer, new, old) for new, old in ((i + t, station), (u, lateral), (v, up))
            )
            beyond = np.where(nearer, x - length if i == bones - 1 else -np.inf, beyond)
        return station, lateral, up, beyond

    def section(self, station: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Half-width, height and depth (...) at stations."""
        curve = PchipInterpolator(self.profile[:, 0], self.profile[:, 1:])
        values = curve(np.clip(station, self.profile[0, 0], self.profile[-1, 0]))
        return values[..., 0], values[..., 1], values[..., 2]

    def __call__(self, points: np.ndarray) -> np.ndarray:
        station, u, v, beyond = self.coordinates(points)
        width, height, depth = self.section(station)
        half = np.where(v > 0, height, depth)
        n = self.exponent
        radial = ((np.abs(u) / width) ** n + (np.abs(v) / half) ** n) ** (1 / n)
        cap = np.maximum(beyond + self.cap, 0) / self.cap
        before = np.maximum(self.profile[0, 0] - station, 0) * 4  # a blunt end inside the palm
        radius = np.minimum(width, half)
        return ((radial**n + cap**n + before**n) ** (1 / n) - 1) * radius

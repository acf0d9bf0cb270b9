"""Hands and objects drawn on transparent ground, with motion blur."""

from dataclasses import dataclass

import cv2
import numpy as np

from models.simulation.raycasting import NO_FACE
from models.simulation.shading import ShadedScene, slopes_of
from models.simulation.surfaces import texel_index

_EDGE_SIGMA_PX = 0.45
_LONGEST_BLUR_PX = 60.0
_NO_BLUR_PX = 1.0
_STEP_PX = 1.5
_COARSE = 4


@dataclass(frozen=True, eq=False)
class PixelGrid:
    """The pixels of an image or of a part of it.

    rays: (h, w, 3) float32 world directions through the pixels' centres; centre_world_m: (3,); across: (2, 3) unit
    world directions of the image's u and v; focal_px: pixels per radian, about.
    """

    rays: np.ndarray
    centre_world_m: np.ndarray
    across: np.ndarray
    focal_px: float


@dataclass(frozen=True, eq=False)
class Layer:
    """bgra: (h, w, 4) uint8, colours already multiplied by alpha; None where nothing is seen."""

    bgra: np.ndarray | None

    def over(self, image: np.ndarray) -> np.ndarray:
        """The image (h, w, 3) uint8 with this layer before it."""
        if self.bgra is None:
            return image
        clear = cv2.bitwise_not(self.bgra[..., 3])
        return cv2.add(cv2.multiply(image, cv2.merge([clear] * 3), scale=1 / 255), self.bgra[..., :3])


def draw(shaded: ShadedScene, grid: PixelGrid, vertices_px: np.ndarray, flow_px: np.ndarray) -> Layer:
    """Everything in the scene. vertices_px: (N, 2) and flow_px: (N, 2) say where in the grid the vertices are and how
    far they move while the shutter is open; NaN behind the camera."""
    height, width = grid.rays.shape[:2]
    places = _covered(shaded, vertices_px, height, width)
    if not len(places):
        return Layer(None)
    rays = np.empty((len(places), 6), np.float32)
    rays[:, :3] = grid.centre_world_m
    rays[:, 3:] = grid.rays.reshape(-1, 3).take(places, axis=0)
    distance, face, uv = shaded.caster.first_hits(rays)
    hit = np.flatnonzero(face != NO_FACE)
    if not len(hit):
        return Layer(None)
    face = face[hit].astype(np.int32)
    places, distance, uv, rays = places[hit], distance[hit], uv[hit], rays[hit, 3:]
    length = np.sqrt(np.einsum("ij,ij->i", rays, rays))
    heights = np.full(height * width, 128, np.uint8)
    texel = texel_index(face, uv)
    heights[places] = shaded.heights(texel)
    pixel_m = float(np.median(distance * length)) / grid.focal_px
    slopes = slopes_of(heights.reshape(height, width), pixel_m).reshape(-1, 2)[places]
    colours = shaded.colours(face, uv, texel, -rays / length[:, None], np.asarray(grid.across, np.float32), slopes)
    bgra = np.zeros((height * width, 4), np.uint8)
    bgra[places, :3] = colours
    bgra[places, 3] = 255
    bgra = bgra.reshape(height, width, 4)
    bgra = cv2.GaussianBlur(bgra, (0, 0), _EDGE_SIGMA_PX)
    return Layer(_moved(bgra, shaded, places, face, flow_px))


def _covered(shaded: ShadedScene, vertices_px: np.ndarray, height: int, width: int) -> np.ndarray:
    """Indices of the pixels within the hulls of the meshes."""
    mask, first = np.zeros((height, width), np.uint8), 0
    for count in shaded.vertex_counts:
        points = vertices_px[first : first + count]
        first += count
        if not np.isfinite(points).all():
            return np.arange(height * width)
        hull = cv2.convexHull(np.rint(np.clip(points, -8000, 8000)).astype(np.int32))
        cv2.fillConvexPoly(mask, hull, (1,))
        cv2.polylines(mask, [hull], True, (1,), 3)
    return np.flatnonzero(mask)


def _moved(
    bgra: np.ndarray, shaded: ShadedScene, places: np.ndarray, face: np.ndarray, flow_px: np.ndarray
) -> np.ndarray:
    """The layer smeared along the way that its points move, where that is more than about a pixel."""
    fastest = float(np.sqrt(np.nanmax((flow_px**2).sum(axis=1))))
    if not fastest > _NO_BLUR_PX:
        return bgra
    height, width = bgra.shape[:2]
    faces = np.full(height * width, -1, np.int32)
    faces[places] = face
    coarse = faces.reshape(height, width)[_COARSE // 2 :: _COARSE, _COARSE // 2 :: _COARSE]
    seen = coarse >= 0
    flow = np.zeros((*coarse.shape, 3), np.float32)
    flow[seen, :2] = flow_px[shaded.faces[coarse[seen], 0]]
    flow[seen, 2] = 1
    # Beyond the silhouette, what passes by moves as the nearest part of the hand does.
    reach = 2 * int(np.ceil(min(fastest, _LONGEST_BLUR_PX) / (2 * _COARSE))) + 3
    spread = cv2.blur(cv2.blur(flow, (reach, reach)), (reach, reach))
    flow = cv2.resize(spread[..., :2] / np.maximum(spread[..., 2:], 1e-4), (width, height))
    u, v = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    # The mean of 2 ** n exposures is that of two copies, n times, each time half as far apart.
    halvings = int(np.clip(np.ceil(np.log2(fastest / _STEP_PX)), 1, 5))
    for halving in range(halvings):
        x, y = flow[..., 0] / 2 ** (halving + 2), flow[..., 1] / 2 ** (halving + 2)
        ahead, behind = (cv2.remap(bgra, u + sign * x, v + sign * y, cv2.INTER_LINEAR) for sign in (1, -1))
        bgra = cv2.addWeighted(ahead, 0.5, behind, 0.5, 0)
    return bgra

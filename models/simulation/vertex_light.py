"""The light that falls on a mesh, at its vertices: lamps with soft shadows, the sky and what shades it, and the light
that enters skin and leaves it nearby.

Vertices are close enough for all of this to be smooth between them, and every camera shares the result.
"""

import numpy as np
from scipy.sparse import csr_array

from models.simulation.panorama import harmonics
from models.simulation.raycasting import RayCaster
from models.simulation.scene import Lighting

UP_WORLD = np.array([0.0, 0.0, 1.0], dtype=np.float32)
# Each vertex follows some of all rays; its neighbours follow the others, and their results are shared.
_SKY_DIRECTIONS, _LAMP_DIRECTIONS, _SHARED_BY = 8, 4, 4
_REACH_M = 0.06
_OFFSET_M = 8e-4
# Skin scatters red light farthest: how far past the edge of shade it glows.
_SKIN_WRAP = np.array([0.30, 0.14, 0.08], dtype=np.float32)


def vertex_normals(vertices_m: np.ndarray, faces: np.ndarray, vertex_from_face) -> np.ndarray:
    """Unit normals (N, 3) out of the mesh, each the mean of its faces' weighted by area."""
    a, b, c = (vertices_m[faces[:, corner]] for corner in range(3))
    normals = vertex_from_face @ np.cross(b - a, c - a)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def vertex_light(
    vertices_m: np.ndarray,
    normals: np.ndarray,
    translucent: np.ndarray,
    neighbour_mean: csr_array,
    caster: RayCaster,
    lighting: Lighting,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Diffuse light (N, 3) linear RGB, the open share of the sky (N,), and of each of L lights (N, L).

    translucent: (N,) bool, skin. neighbour_mean: (N, N).
    """
    origins = vertices_m + _OFFSET_M * normals
    openness = neighbour_mean @ (neighbour_mean @ _sky_openness(origins, normals, caster))
    light = _from_all_sides(normals, lighting) * openness[:, None]
    wrap = np.where(translucent[:, None], _SKIN_WRAP, np.float32(0))
    seen = np.empty((len(vertices_m), len(lighting.lights)), dtype=np.float32)
    for index, lamp in enumerate(lighting.lights):
        towards = unit(lamp.towards_world)
        facing = normals @ towards
        share = _lamp_share(origins, facing, towards, lamp.softness, caster)
        seen[:, index] = neighbour_mean @ (neighbour_mean @ share)
        wrapped = np.maximum((facing[:, None] + wrap) / (1 + wrap), 0)
        light += np.asarray(lamp.radiance, np.float32) * wrapped * seen[:, index, None]
    return light, openness, seen


def light_around(normals: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Light (N, 3) float32 on unit normals (N, 3) from harmonics (9, 3), which dip below 0 opposite a bright spot."""
    return np.maximum(harmonics(normals).astype(np.float32) @ around.astype(np.float32), 0)


def _from_all_sides(normals: np.ndarray, lighting: Lighting) -> np.ndarray:
    if lighting.around is not None:
        return light_around(normals, lighting.around)
    up = 0.5 + 0.5 * (normals @ UP_WORLD)[:, None]
    sky, ground = np.array([lighting.sky, lighting.ground], np.float32)
    return ground + (sky - ground) * up


def unit(vector) -> np.ndarray:
    """A vector (3,) at length 1, float32."""
    vector = np.asarray(vector, dtype=np.float32)
    return vector / np.linalg.norm(vector)


def _sky_openness(origins: np.ndarray, normals: np.ndarray, caster: RayCaster) -> np.ndarray:
    """The share (N,) of directions, weighted by the cosine, in which nothing is near."""
    blocked = caster.blocked(_shared_rays(origins, normals, 0.98 * _spiral(_SKY_DIRECTIONS)), _REACH_M)
    return 1 - 0.85 * blocked.reshape(-1, len(origins)).mean(axis=0, dtype=np.float32)


def _lamp_share(
    origins: np.ndarray, facing: np.ndarray, towards: np.ndarray, softness: float, caster: RayCaster
) -> np.ndarray:
    """The share (N,) of a lamp's disc that each vertex sees."""
    lit = np.flatnonzero(facing > -0.3)
    disc = _spiral(_LAMP_DIRECTIONS)
    disc -= (disc @ towards)[:, None] * towards
    blocked = caster.blocked(_shared_rays(origins[lit], towards, softness * disc))
    share = np.zeros(len(origins), dtype=np.float32)
    share[lit] = 1 - blocked.reshape(-1, len(lit)).mean(axis=0, dtype=np.float32)
    return share


def _shared_rays(origins: np.ndarray, middles: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Rays (K * N, 6) from N origins, in K directions each: the middles plus every _SHARED_BY-th of the offsets."""
    count = len(offsets) // _SHARED_BY
    rays = np.empty((count, len(origins), 6), dtype=np.float32)
    rays[..., :3] = origins
    turn = np.arange(len(origins)) % _SHARED_BY
    for index in range(count):
        rays[index, :, 3:] = middles + offsets[_SHARED_BY * index + turn]
    return rays.reshape(-1, 6)


def _spiral(count: int) -> np.ndarray:
    """Unit vectors (count, 3) spread evenly over the sphere: the Fibonacci lattice."""
    steps = np.arange(count) + 0.5
    z = 1 - 2 * steps / count
    angle = steps * np.pi * (1 + np.sqrt(5))
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1).astype(np.float32)

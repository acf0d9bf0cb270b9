"""Things to hold: boxes, cylinders, balls and smooth lumps, with colours of their own."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.simulation.noise3d import fractal, noise
from models.simulation.scene import Surface
from models.simulation.surfaces import at_texels, pack

Shape = Literal["box", "cylinder", "ball", "lump"]
SHAPES: tuple[Shape, ...] = ("box", "cylinder", "ball", "lump")
_CELL_M = 0.008


@dataclass(frozen=True, eq=False)
class Thing:
    """vertices_m: (N, 3) about the thing's centre, in its own frame; z is a cylinder's axis."""

    vertices_m: np.ndarray
    surface: Surface


def random_thing(rng: np.random.Generator) -> Thing:
    """Something of a size that a hand takes, in one or two colours."""
    shape = SHAPES[int(rng.integers(len(SHAPES)))]
    size_m = rng.uniform(0.015, 0.045, 3)
    if shape == "cylinder":
        size_m = np.array([size_m[0], size_m[0], rng.uniform(0.03, 0.09)])
    if shape == "ball":
        size_m = np.full(3, rng.uniform(0.015, 0.04))
    colours = np.clip(rng.uniform(0.02, 0.7) * (1 + rng.uniform(-0.8, 0.8, (2, 3))), 0.01, 0.85)
    return make_thing(shape, size_m, colours, float(rng.uniform(0, 1)), int(rng.integers(2**31)))


def make_thing(shape: Shape, half_size_m: np.ndarray, colours: np.ndarray, gloss: float, seed: int) -> Thing:
    """A thing whose box has half sides (3,) in metres. colours: (2, 3) linear RGB, mixed in a pattern."""
    half = np.asarray(half_size_m, dtype=float)
    vertices, faces = _cube(np.maximum(np.ceil(2 * half / _CELL_M).astype(int), 2))
    if shape == "box":
        # The 12-norm rounds the edges.
        vertices = vertices / np.maximum(np.linalg.norm(vertices, ord=12, axis=1, keepdims=True), 1e-9)
    elif shape == "cylinder":
        flat = np.linalg.norm(vertices[:, :2], axis=1, keepdims=True)
        square = np.abs(vertices[:, :2]).max(axis=1, keepdims=True)
        vertices[:, :2] *= np.where(flat > 0, square / np.maximum(flat, 1e-9), 1)
    else:
        vertices = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
        if shape == "lump":
            vertices = vertices * (1 + 0.12 * noise(vertices, 1.6, seed)[:, None])
    vertices = vertices * half
    points = at_texels(vertices, faces)
    pattern = noise(points, 0.05, seed + 1) if seed % 2 else np.sin(points @ (90.0, 60.0, 140.0))
    share = np.clip(0.5 + 3 * pattern, 0, 1)[..., None] if seed % 3 else np.zeros((*points.shape[:2], 1))
    albedo = np.asarray(colours[0], np.float32) + share * np.asarray(colours[1] - colours[0], np.float32)
    albedo = albedo * (1 + 0.06 * fractal(points, 0.01, seed + 2))[..., None]
    surface = Surface(
        faces,
        pack(albedo, 0.00005 * noise(points, 0.003, seed + 3)),
        np.full(points.shape[:2], np.clip(255 * gloss, 0, 255), np.uint8),
    )
    return Thing(vertices, surface)


def _cube(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The surface of the cube -1..1, cut into cells (3,) along its axes: vertices (N, 3), faces (F, 3)."""
    vertices, faces, first = [], [], 0
    for axis in range(3):
        u_axis, v_axis = (axis + 1) % 3, (axis + 2) % 3
        nu, nv = int(cells[u_axis]), int(cells[v_axis])
        u, v = np.meshgrid(np.linspace(-1, 1, nu + 1), np.linspace(-1, 1, nv + 1), indexing="ij")
        corner = (np.arange(nu)[:, None] * (nv + 1) + np.arange(nv)[None]).ravel()
        a, b, c, d = corner, corner + nv + 1, corner + nv + 2, corner + 1
        quads = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
        for side in (1, -1):
            part = np.empty((u.size, 3))
            part[:, axis], part[:, u_axis], part[:, v_axis] = side, u.ravel(), v.ravel()
            vertices.append(part)
            faces.append((quads if side > 0 else quads[:, ::-1]) + first)
            first += len(part)
    return np.concatenate(vertices), np.concatenate(faces).astype(np.int32)

"""An isosurface as few, even triangles: a fine mesh on a grid, grouped into cells of the sizes wished for.

The fine mesh has a vertex in each cube that the surface passes through, as in S. F. F. Gibson, "Constrained elastic
surface nets", MICCAI 1998. The grouping is that of S. Valette and J.-M. Chassery, "Approximated centroidal Voronoi
diagrams for uniform polygonal mesh coarsening", Computer Graphics Forum 23(3), 2004, with nearest centroids in place of
their local tests.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

Distance = Callable[[np.ndarray], np.ndarray]


def isosurface(distance: Distance, low, high, step: float, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (N, 3) and outward faces (F, 3) of the surface where the distance is 0, within the box low to high.

    The distance is asked at all points of a coarse grid of `4 step`, and at those of the fine grid that lie near coarse
    points no further than `reach` from the surface.
    """
    low = np.asarray(low, float)
    cells = np.ceil((np.asarray(high) - low) / (4 * step)).astype(int)
    coarse = distance(_grid(low, cells, 4 * step))
    fine = np.repeat(np.repeat(np.repeat(coarse, 4, 0), 4, 1), 4, 2).astype(np.float32)
    near = np.abs(fine) < reach
    points = low + (np.argwhere(near) - 1.5) * step
    fine[near] = distance(points.astype(np.float32))
    cubes, faces = _surface_net(fine < 0)
    return project(distance, low + (cubes - 1.0) * step), faces


def _surface_net(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cubes (N, 3) of a grid (X, Y, Z) of bool whose corners differ, and outward faces (F, 3) that join them."""
    corners = np.lib.stride_tricks.sliding_window_view(inside, (2, 2, 2))
    mixed = corners.any(axis=(3, 4, 5)) & ~corners.all(axis=(3, 4, 5))
    number = np.full(mixed.shape, -1)
    number[mixed] = np.arange(mixed.sum())
    faces = []
    for axis in range(3):
        here, there = (np.moveaxis(inside, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        along = np.eye(3, dtype=int)
        across, aslant = along[(axis + 1) % 3], along[(axis + 2) % 3]
        for start, end, order in ((here, there, (0, 1, 2, 3)), (there, here, (3, 2, 1, 0))):
            edges = np.argwhere(np.moveaxis(start & ~end, 0, axis))
            around = np.stack([edges, edges - across, edges - across - aslant, edges - aslant])
            a, b, c, d = number[tuple(np.moveaxis(around[list(order)], 2, 0))]
            faces += [np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)]
    return np.argwhere(mixed), np.concatenate(faces)


def _grid(low: np.ndarray, cells: np.ndarray, step: float) -> np.ndarray:
    axes = [low[i] + step * np.arange(cells[i]) for i in range(3)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)


def gradient(distance: Distance, points: np.ndarray, step: float = 0.05) -> np.ndarray:
    """Gradient (N, 3) of the distance at points (N, 3), by central differences."""
    shifts = step * np.eye(3)
    return np.stack([(distance(points + s) - distance(points - s)) / (2 * step) for s in shifts], axis=-1)


def project(distance: Distance, points: np.ndarray, rounds: int = 3) -> np.ndarray:
    """Points (N, 3) moved along the gradient onto the surface."""
    for _ in range(rounds):
        slope = gradient(distance, points)
        points = points - distance(points)[:, None] * slope / np.maximum(np.sum(slope**2, axis=1), 0.05)[:, None]
    return points


def coarsen(
    vertices: np.ndarray, faces: np.ndarray, sizes: np.ndarray, count: int, rounds: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """Group a fine mesh into about `count` cells whose widths are in proportion to sizes (N,).

    Returns the cells' centres (M, 3) and the faces (G, 3) that join cells which meet.
    """
    normals = vertex_normals(vertices, faces)
    area = vertex_areas(vertices, faces)
    # In two dimensions cells of a centroidal Voronoi diagram get an area in proportion to density^(-1/2).
    places = np.concatenate([vertices, 3 * normals], axis=1)
    share = np.cumsum(area / sizes**2)
    picks = np.searchsorted(share, share[-1] * (np.random.default_rng(0).permutation(count) + 0.5) / count)
    centres = places[np.unique(picks)]
    mass = area / sizes**4
    while True:
        for _ in range(rounds):
            cell = KDTree(centres).query(places)[1]
            total = np.bincount(cell, mass, len(centres))
            kept = total > 0
            sums = np.stack([np.bincount(cell, mass * places[:, i], len(centres)) for i in range(6)], axis=1)
            centres = sums[kept] / total[kept, None]
        joined = _joined(_one_piece_each(np.asarray(KDTree(centres).query(places)[1]), faces), faces)
        tangled = _tangled(joined, len(centres))
        if not len(tangled):
            return centres[:, :3], joined
        centres = np.delete(centres, tangled, axis=0)
        rounds = 3


def _joined(cell: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Faces (G, 3) that join three cells each, one for every place where cells meet."""
    corners = cell[faces]
    corners = corners[
        (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2]) & (corners[:, 2] != corners[:, 0])
    ]
    first = np.argmin(corners, axis=1)
    return np.unique(np.take_along_axis(corners, (first[:, None] + np.arange(3)) % 3, axis=1), axis=0)


def _tangled(faces: np.ndarray, count: int) -> np.ndarray:
    """Vertices that lie on no face, or on an edge that does not join exactly two faces of one winding."""
    a, b = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    uses = coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count)).tocsr()
    wrong = (abs(uses - uses.T) + (uses > 1)).tocoo()
    bare = np.setdiff1d(np.arange(count), faces)
    return np.union1d(bare, wrong.row[wrong.data > 0])


def _one_piece_each(cell: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Cells (N,) in which every piece of a cell but its largest went to a cell beside it."""
    cell = cell.copy()
    a, b = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    while True:
        same = cell[a] == cell[b]
        joined = coo_matrix((np.ones(int(same.sum())), (a[same], b[same])), shape=(len(cell), len(cell)))
        piece = connected_components(joined, directed=False)[1]
        size = np.bincount(piece)[piece]
        largest = np.zeros(cell.max() + 1, int)
        np.maximum.at(largest, cell, size)
        stray = size < largest[cell]
        if not stray.any():
            return cell
        edge = stray[a] & ~stray[b]
        cell[a[edge]] = cell[b[edge]]


def relax(
    distance: Distance, vertices: np.ndarray, faces: np.ndarray, pinned: np.ndarray, rounds: int = 8
) -> np.ndarray:
    """Vertices moved towards their neighbours' mean within the surface, then back onto it, several times.

    pinned: indices of vertices that stay.
    """
    a, b = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    degree = np.bincount(a, minlength=len(vertices))
    for _ in range(rounds):
        mean = np.stack([np.bincount(a, vertices[b, i], len(vertices)) for i in range(3)], axis=1) / degree[:, None]
        normals = vertex_normals(vertices, faces)
        step = mean - vertices
        step -= np.sum(step * normals, axis=1, keepdims=True) * normals
        step[pinned] = 0
        vertices = project(distance, vertices + 0.4 * step, rounds=1)
    return project(distance, vertices)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (N, 3), faces weighted by area."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    face_normals = np.cross(b - a, c - a)
    normals = np.stack(
        [np.bincount(faces.ravel(), np.repeat(face_normals[:, i], 3), len(vertices)) for i in range(3)], axis=1
    )
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def vertex_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """A third of the area of each vertex's faces (N,)."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    return np.bincount(faces.ravel(), np.repeat(area, 3), len(vertices))

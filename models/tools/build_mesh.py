"""`python -m models.tools.build_mesh` writes hand_mesh.npz, the built-in hand's mesh.

Arrays: rest_vertices_m (N, 3) float32 in the hand frame at skeleton.REST_ANGLES_RAD with the mean bones; faces (F, 3)
int32, counter-clockwise seen from outside; weights (N, 16) float32 of skeleton.BONE_NAMES, rows sum to 1, at most 4
above 0; nail (N,) float32, a ramp 3 mm wide from 0 outside a nail to 1 within it, 0.5 on its outline; palm (N,)
float32, 1 on the palm, 0 on the back and the forearm; tips (5,) int32, the vertex at each finger's last joint.
"""

from io import BytesIO

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags
from scipy.spatial import KDTree

from calibration.hand import FINGER_JOINTS
from calibration.written_files import write_atomic
from models.hand.mesh import MESH_FILE
from models.tools import remesh
from models.tools.form import HandForm, mean_hand, smoothstep

VERTICES = 2950
_LOW_MM, _HIGH_MM, _STEP_MM = (-80, -75, -65), (205, 110, 45), 0.9
# How far a joint's bend spreads along the bones before and after it, as fractions of them.
_SPREADS = (((0.25, 0.55), (0.22, 0.24), (0.26, 0.24)), *(((0.22, 0.32), (0.22, 0.30), (0.26, 0.28)),) * 4)
_SMOOTHING_ROUNDS = 3


def build() -> dict[str, np.ndarray]:
    """The arrays of hand_mesh.npz; the same at each call."""
    hand = mean_hand()
    fine, fine_faces = remesh.isosurface(hand.distance_mm, _LOW_MM, _HIGH_MM, _STEP_MM, reach=9.0)
    vertices, faces = remesh.coarsen(fine, fine_faces, _cell_sizes(hand, fine), VERTICES)
    ends = hand.joints_mm[[joints[-1] for joints in FINGER_JOINTS]]
    tips = np.asarray(KDTree(vertices).query(ends)[1])
    vertices[tips] = ends
    vertices = remesh.relax(hand.distance_mm, vertices, faces, pinned=tips)
    nail = np.max([np.clip(0.5 + hand.nail(i, vertices) / 3, 0, 1) for i in range(5)], axis=0)
    return {
        "rest_vertices_m": (vertices / 1000).astype(np.float32),
        "faces": faces.astype(np.int32),
        "weights": skin_weights(hand, vertices, faces).astype(np.float32),
        "nail": nail.astype(np.float32),
        "palm": palm_side(hand, vertices, faces).astype(np.float32),
        "tips": tips.astype(np.int32),
    }


def _cell_sizes(hand: HandForm, points: np.ndarray) -> np.ndarray:
    """Relative widths (N,) of the triangles wanted at points: small on fingertips and nails, large on the forearm."""
    sizes = 1.45 + 0.8 * smoothstep(5, -45, points[:, 0])
    for i, finger in enumerate(hand.fingers):
        station = finger.coordinates(points)[0]
        on_finger = finger(points) < 1.5
        along = 1.2 - 0.2 * smoothstep(0.3, 0.8, station) - 0.22 * smoothstep(2.1, 2.5, station)
        along -= 0.28 * smoothstep(-3.0, -0.5, hand.nail(i, points))
        sizes = np.where(on_finger & (station > 0.2), np.minimum(sizes, along), sizes)
    return sizes


def skin_weights(hand: HandForm, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Weights (N, 16) of the bones: ramps across each joint; two fingers share only the skin between their bases."""
    weights = np.zeros((len(vertices), 16))
    stations = [finger.coordinates(vertices)[0] for finger in hand.fingers]
    shares = _finger_shares(hand, vertices, stations)
    for i, station in enumerate(stations):
        first, middle, last = (
            smoothstep(k - before, k + after, station) for k, (before, after) in enumerate(_SPREADS[i])
        )
        bones = np.stack([first * (1 - middle), middle * (1 - last), last], axis=1)
        weights[:, 1 + 3 * i : 4 + 3 * i] = shares[:, i, None] * bones
    weights[:, 0] = np.maximum(1 - weights.sum(axis=1), 0)
    mean = _neighbour_mean(faces, len(vertices))
    for _ in range(_SMOOTHING_ROUNDS):
        weights = 0.5 * weights + 0.5 * (mean @ weights)
    weights[weights < np.sort(weights, axis=1)[:, [-4]]] = 0
    weights[weights < 0.004] = 0
    return weights / weights.sum(axis=1, keepdims=True)


def _finger_shares(hand: HandForm, vertices: np.ndarray, stations: list[np.ndarray]) -> np.ndarray:
    """Whose each vertex is, if not the palm's (N, 5): one finger's, or in the skin between two of them both's."""
    distances = np.stack([finger(vertices) for finger in hand.fingers[1:]], axis=1)
    shares = np.zeros((len(vertices), 5))
    for i in range(4):
        others = np.delete(distances, i, axis=1).min(axis=1)
        width = 7.0 - 6.3 * smoothstep(0.3, 0.62, stations[i + 1])
        shares[:, i + 1] = smoothstep(-width, width, others - distances[:, i])
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
    thumb = _thumb_share(hand, vertices)
    shares *= 1 - thumb[:, None]
    shares[:, 0] = thumb
    return shares


def _thumb_share(hand: HandForm, vertices: np.ndarray) -> np.ndarray:
    """1 on the thumb (N,), fading over its ball and the skin beside it to 0 at the index finger's metacarpal."""
    base, knuckle = hand.joints_mm[1], hand.joints_mm[2]
    to_thumb = _to_segment(vertices, base + 0.25 * (knuckle - base), hand.joints_mm[4])
    rays = ((np.array([5.0, 8, -2]), 5), (hand.joints_mm[5], 8), (np.array([5.0, -5, -4]), 9), (hand.joints_mm[9], 12))
    to_others = np.min([_to_segment(vertices, start, hand.joints_mm[end]) for start, end in rays], axis=0)
    return smoothstep(0.62, 0.30, to_thumb / (to_thumb + to_others))


def _to_segment(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    t = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(points - a - t[:, None] * (b - a), axis=1)


def _neighbour_mean(faces: np.ndarray, count: int) -> csr_matrix:
    """A matrix (N, N) that takes values of vertices to the mean over their neighbours."""
    a, b = faces[:, [0, 1, 2]].ravel(), faces[:, [1, 2, 0]].ravel()
    joined = coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count)).tocsr()
    return csr_matrix(diags(1 / np.asarray(joined.sum(axis=1)).ravel()) @ joined)


def palm_side(hand: HandForm, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """1 on the skin of the palm, 0 on the back and the forearm (N,): by where it faces in the nearest bone's frame."""
    normals = remesh.vertex_normals(vertices, faces)
    up = np.broadcast_to([0.0, 0, 1], vertices.shape).copy()
    distances = np.stack([finger(vertices) for finger in hand.fingers], axis=1)
    for i, finger in enumerate(hand.fingers):
        station = finger.coordinates(vertices)[0]
        share = smoothstep(6, 0, distances[:, i]) * smoothstep(0.0, 0.6, station)
        bone = np.clip(station, 0, 2).astype(int)
        up += share[:, None] * (finger.axes[bone, 2] - up)
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    side = smoothstep(0.35, -0.35, np.sum(normals * up, axis=1)) * smoothstep(-9, 7, vertices[:, 0])
    mean = _neighbour_mean(faces, len(vertices))
    for _ in range(2):
        side = 0.5 * side + 0.5 * (mean @ side)
    return side


def main() -> None:
    file = BytesIO()
    np.savez_compressed(file, **build())  # pyright: ignore[reportArgumentType]
    write_atomic(MESH_FILE, file.getvalue())


if __name__ == "__main__":
    main()

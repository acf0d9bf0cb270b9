"""Rays against triangle meshes: Open3D's RaycastingScene (Embree) on one thread, no display."""

import numpy as np
import open3d as o3d

NO_FACE = np.uint32(o3d.t.geometry.RaycastingScene.INVALID_ID)


class RayCaster:
    """Meshes at one moment. vertices: (N, 3) metres; faces: (F, 3). Rays are (R, 6): origin, then direction; distances
    are in units of the direction's length."""

    def __init__(self, vertices_m: np.ndarray, faces: np.ndarray) -> None:
        self._scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(
            o3d.core.Tensor.from_numpy(np.ascontiguousarray(vertices_m, dtype=np.float32)),
            o3d.core.Tensor.from_numpy(np.ascontiguousarray(faces, dtype=np.uint32)),
        )

    def first_hits(self, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What each ray meets first: distances (R,), infinite where nothing; faces (R,) uint32, NO_FACE where nothing;
        barycentric coordinates (R, 2) of the face's second and third vertex."""
        hits = self._scene.cast_rays(_tensor(rays), nthreads=1)
        return hits["t_hit"].numpy(), hits["primitive_ids"].numpy(), hits["primitive_uvs"].numpy()

    def blocked(self, rays: np.ndarray, reach: float = np.inf) -> np.ndarray:
        """(R,) bool: whether anything lies on the ray before `reach`."""
        return self._scene.test_occlusions(_tensor(rays), tnear=0.0, tfar=reach, nthreads=1).numpy()

    def crossings(self, rays: np.ndarray) -> np.ndarray:
        """(R,) counts of all the faces on each ray."""
        return self._scene.count_intersections(_tensor(rays), nthreads=1).numpy()


def _tensor(rays: np.ndarray) -> o3d.core.Tensor:
    return o3d.core.Tensor.from_numpy(np.ascontiguousarray(rays, dtype=np.float32))

"""Open3D geometries that are shown, hidden and changed in place."""

import cv2
import numpy as np
import open3d as o3d

_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64)
TWO_TRIANGLES = np.array([[0, 2, 1], [0, 3, 2]], dtype=np.int32)


class Item:
    """A geometry in a window; hidden at first. Showing it never moves the view, and hands new values to the window."""

    def __init__(self, window: o3d.visualization.Visualizer, geometry: o3d.geometry.Geometry) -> None:
        self._window = window
        self.geometry = geometry
        self.visible = False
        self._changed = False

    def show(self, visible: bool) -> None:
        """To be called at every redraw: what changed meanwhile goes to the window once, however often it changed."""
        if visible and not self.visible:
            self._window.add_geometry(self.geometry, reset_bounding_box=False)
        elif self.visible and not visible:
            self._window.remove_geometry(self.geometry, reset_bounding_box=False)
        elif visible and self._changed:
            self._window.update_geometry(self.geometry)
        self.visible, self._changed = visible, False

    def changed(self) -> None:
        """The geometry has new values."""
        self._changed = True

    def _replace(self, old: o3d.utility.Vector3dVector, new: np.ndarray | None) -> None:
        """Values (N, 3) of the geometry by those (N, 3) or one (3,) for all; None keeps them."""
        values = np.asarray(old)
        if new is not None and not (values == new).all():
            values[:] = new
            self.changed()


class Mesh(Item):
    """A mesh of fixed topology with a colour per vertex, drawn as is: without normals Open3D lights nothing."""

    geometry: o3d.geometry.TriangleMesh

    def __init__(self, window: o3d.visualization.Visualizer, triangles: np.ndarray, vertices: int) -> None:
        mesh = o3d.geometry.TriangleMesh()
        mesh.vertices = o3d.utility.Vector3dVector(np.zeros((vertices, 3)))
        mesh.vertex_colors = o3d.utility.Vector3dVector(np.zeros((vertices, 3)))
        mesh.triangles = o3d.utility.Vector3iVector(triangles)
        super().__init__(window, mesh)

    def set(self, vertices: np.ndarray | None = None, colours: np.ndarray | None = None) -> None:
        """New positions (N, 3) and colours (N, 3); None keeps the old ones."""
        self._replace(self.geometry.vertices, vertices)
        self._replace(self.geometry.vertex_colors, colours)


class Lines(Item):
    """Line pieces with a colour each."""

    geometry: o3d.geometry.LineSet

    def __init__(
        self, window: o3d.visualization.Visualizer, points: np.ndarray, lines: np.ndarray, colours: np.ndarray
    ) -> None:
        line_set = o3d.geometry.LineSet(o3d.utility.Vector3dVector(points), o3d.utility.Vector2iVector(lines))
        super().__init__(window, line_set)
        self.set_colours(colours)

    @property
    def count(self) -> int:
        return len(self.geometry.lines)

    def set(self, points: np.ndarray, lines: np.ndarray, colours: np.ndarray) -> None:
        """New points (N, 3), pairs (L, 2) and colours (L, 3)."""
        self.geometry.points = o3d.utility.Vector3dVector(points)
        self.geometry.lines = o3d.utility.Vector2iVector(lines)
        self.set_colours(colours)

    def set_colours(self, colours: np.ndarray) -> None:
        """One colour (3,) for all lines or one each (L, 3)."""
        self.geometry.colors = o3d.utility.Vector3dVector(np.broadcast_to(colours, (self.count, 3)).copy())
        self.changed()


class Points(Item):
    """A cloud of coloured points."""

    geometry: o3d.geometry.PointCloud

    def __init__(self, window: o3d.visualization.Visualizer) -> None:
        super().__init__(window, o3d.geometry.PointCloud())

    def set(self, points: np.ndarray, colours: np.ndarray) -> None:
        self.geometry.points = o3d.utility.Vector3dVector(points)
        self.geometry.colors = o3d.utility.Vector3dVector(colours)
        self.changed()


class Picture(Item):
    """An image on a rectangle; its pixels keep their colours.

    `fine` repeats every pixel that many times each way, for a picture that is rendered larger and then reduced.
    """

    geometry: o3d.geometry.TriangleMesh

    def __init__(self, window: o3d.visualization.Visualizer, fine: int = 1) -> None:
        mesh = o3d.geometry.TriangleMesh(
            o3d.utility.Vector3dVector(np.zeros((4, 3))), o3d.utility.Vector3iVector(TWO_TRIANGLES)
        )
        mesh.triangle_uvs = o3d.utility.Vector2dVector(_CORNERS[TWO_TRIANGLES.reshape(-1)])
        mesh.triangle_material_ids = o3d.utility.IntVector([0, 0])
        super().__init__(window, mesh)
        self.size = (0, 0)
        self._fine = fine

    def set_image(self, image: np.ndarray) -> None:
        """A BGR image (H, W, 3) uint8."""
        self.size = (image.shape[1], image.shape[0])
        if self._fine > 1:
            image = cv2.resize(image, None, fx=self._fine, fy=self._fine, interpolation=cv2.INTER_NEAREST)
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        self.geometry.textures = [o3d.geometry.Image(rgb)]  # pyright: ignore[reportArgumentType,reportCallIssue]
        self.changed()

    def set_corners(self, corners_m: np.ndarray) -> None:
        """Where the image's top left, top right, bottom right and bottom left corners (4, 3) lie in the world."""
        self._replace(self.geometry.vertices, corners_m)

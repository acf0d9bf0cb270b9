"""What there is to see at one moment: the values that the renderer takes.

World metres; colours are linear RGB in 0..1 unless said otherwise. All is frozen, so a scene can be rendered twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array, diags_array

from calibration.board.board import Board
from calibration.hand import Side


@dataclass(frozen=True, eq=False)
class Surface:
    """The faces and the colours of a mesh, which stay while its vertices move.

    faces: (F, 3) int32, counter-clockwise from outside. texels: (F, TEXELS, 4) uint8 of `surfaces.py`: square roots of
    the linear albedo's red, green and blue, and the height of the relief. gloss: (F, TEXELS) uint8, 0 is matt.
    `skin.hand_surface` makes one for a person, `objects.make_thing` for a thing.
    """

    faces: np.ndarray
    texels: np.ndarray
    gloss: np.ndarray
    translucent: bool = False

    @cached_property
    def vertex_from_face(self) -> csr_array:
        """(N, F): which faces meet at each vertex."""
        faces = len(self.faces)
        rows, columns = self.faces.ravel(), np.repeat(np.arange(faces), 3)
        return csr_array((np.ones(3 * faces, np.float32), (rows, columns)), shape=(int(self.faces.max()) + 1, faces))

    @cached_property
    def neighbour_mean(self) -> csr_array:
        """(N, N): takes values at vertices to their means over each vertex and its neighbours."""
        touching = self.vertex_from_face @ self.vertex_from_face.T
        touching.data[:] = 1
        return csr_array(diags_array(1 / touching.sum(axis=1).astype(np.float32)) @ touching)


@dataclass(frozen=True, eq=False, kw_only=True)
class PosedHand:
    """One hand. Vertices (N, 3) in world metres when the shutter opens and when it closes; joints (21, 3) in world
    metres at mid-exposure, the moment that all truth describes. `thickness` is the hand's (1 = mean)."""

    side: Side
    vertices_start_m: np.ndarray
    vertices_end_m: np.ndarray
    joints_m: np.ndarray
    surface: Surface
    thickness: float = 1.0


@dataclass(frozen=True, eq=False)
class PosedObject:
    """One thing: vertices (N, 3) in world metres when the shutter opens and when it closes."""

    vertices_start_m: np.ndarray
    vertices_end_m: np.ndarray
    surface: Surface


@dataclass(frozen=True, eq=False)
class PosedBoard:
    """A calibration board with `x_world = T_world_board @ x_board`. It lies behind hands and objects."""

    board: Board
    T_world_board: np.ndarray


@dataclass(frozen=True)
class Light:
    """A distant light. `towards_world` points to it (any length); `radiance` is its linear RGB; `softness` is the
    radius of its disc seen from the hand, in units of its distance: 0.01 a bare bulb, 0.5 a window."""

    towards_world: tuple[float, float, float]
    radiance: tuple[float, float, float]
    softness: float = 0.2


@dataclass(frozen=True, eq=False)
class Lighting:
    """Lights, and the light that comes from all sides: `sky` from above, `ground` from below, linear RGB, or `around`
    (9, 3), the harmonics of `panorama.irradiance`. White skin facing one light of radiance 0.7 under a sky of 0.3 is
    well exposed."""

    lights: tuple[Light, ...] = (Light((0.3, -0.4, 1.0), (0.75, 0.73, 0.7)),)
    sky: tuple[float, float, float] = (0.35, 0.36, 0.38)
    ground: tuple[float, float, float] = (0.2, 0.18, 0.16)
    around: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """What a camera does to the light. `exposure` multiplies it; `white_balance` multiplies red, green and blue;
    `gamma` bends the response (1 = sRGB); `contrast` stretches about mid-grey; `blur_px` is the sigma of defocus;
    `noise` is the standard deviation in grey levels at mid-grey; `jpeg_quality` None leaves the image as it is."""

    exposure: float = 1.0
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    blur_px: float = 0.4
    noise: float = 2.0
    jpeg_quality: int | None = 90


@dataclass(frozen=True, eq=False)
class SceneView:
    """What is one camera's own. `background` is a picture (h, w, 3) uint8 BGR of what lies far behind the hands, of any
    size: it is stretched over the field of view. None is grey."""

    background: np.ndarray | None = None
    sensor: Sensor = field(default_factory=Sensor)


@dataclass(frozen=True, eq=False, kw_only=True)
class SceneState:
    """Everything to be seen at one time. `views` by camera id (a camera that it lacks has a grey background and the
    usual sensor). The noise follows from `noise_seed`, the camera's id and nothing else."""

    hands: tuple[PosedHand, ...]
    objects: tuple[PosedObject, ...] = ()
    boards: tuple[PosedBoard, ...] = ()
    lighting: Lighting = field(default_factory=Lighting)
    views: Mapping[str, SceneView] = field(default_factory=dict)
    noise_seed: int = 0


@dataclass(frozen=True, eq=False)
class HandInImage:
    """Truth of one hand in one image. keypoints_px: (21, 2) distorted pixels, NaN behind the camera. visible: (21,)
    bool: inside the image and not hidden (see `renderer.visible_joints`). box_px: left, top, right, bottom around all
    joints and the flesh about them, clipped to the image; None where nothing of it lies inside."""

    side: Side
    keypoints_px: np.ndarray
    visible: np.ndarray
    box_px: tuple[int, int, int, int] | None


@dataclass(frozen=True, eq=False)
class Rendering:
    """image: (H, W, 3) uint8 BGR. hands: in the order of the state's."""

    image: np.ndarray
    hands: tuple[HandInImage, ...]

"""From rays' first hits to colours: texture, diffuse light, relief and gloss.

The gloss is a Gaussian lobe about the half vector, after J. Blinn, "Models of light reflection for computer synthesized
pictures", SIGGRAPH 1977, with C. Schlick's Fresnel factor (Computer Graphics Forum 13(3), 1994).
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from scipy.sparse import block_diag, csr_array

from models.simulation.raycasting import RayCaster
from models.simulation.scene import SceneState, Surface
from models.simulation.surfaces import RELIEF_M
from models.simulation.vertex_light import UP_WORLD, light_around, unit, vertex_light, vertex_normals

# Columns of what is known at vertices.
_LIGHT, _NORMAL, _OPEN, _KEY = slice(0, 3), slice(3, 6), 6, 7
_CHANNELS = 8
_SQUARES = (np.arange(256, dtype=np.float32) / 255) ** 2
_LEVELS = 4096


def _srgb_levels() -> np.ndarray:
    """sRGB's response (IEC 61966-2-1) to linear light of 0..1 in _LEVELS steps."""
    linear = np.linspace(0, 1, _LEVELS)
    return np.round(255 * np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)).astype(
        np.uint8
    )


_SRGB = _srgb_levels()


@dataclass(frozen=True, eq=False, kw_only=True)
class _Joined:
    """Several surfaces as one."""

    faces: np.ndarray
    albedo: np.ndarray
    height: np.ndarray
    gloss: np.ndarray
    translucent: np.ndarray
    vertex_from_face: csr_array
    neighbour_mean: csr_array


@lru_cache(maxsize=16)
def _joined(surfaces: tuple[Surface, ...]) -> _Joined:
    counts = [len(surface.neighbour_mean.indptr) - 1 for surface in surfaces]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return _Joined(
        faces=np.concatenate([surface.faces + start for surface, start in zip(surfaces, starts, strict=True)]).astype(
            np.int32
        ),
        albedo=np.concatenate([surface.texels[..., :3].reshape(-1, 3) for surface in surfaces]),
        height=np.concatenate([surface.texels[..., 3].reshape(-1) for surface in surfaces]),
        gloss=np.concatenate([surface.gloss.reshape(-1) for surface in surfaces]),
        translucent=np.repeat([surface.translucent for surface in surfaces], counts),
        vertex_from_face=csr_array(block_diag([surface.vertex_from_face for surface in surfaces], format="csr")),
        neighbour_mean=csr_array(block_diag([surface.neighbour_mean for surface in surfaces], format="csr")),
    )


class ShadedScene:
    """The meshes of one SceneState and the light on them: all that its cameras share."""

    def __init__(self, state: SceneState) -> None:
        meshes = [*state.hands, *state.objects]
        joined = _joined(tuple(mesh.surface for mesh in meshes))
        start = np.concatenate([mesh.vertices_start_m for mesh in meshes]).astype(np.float32)
        end = np.concatenate([mesh.vertices_end_m for mesh in meshes]).astype(np.float32)
        self.vertices_m = (start + end) / 2
        self.motion_m = end - start
        self.faces = joined.faces
        self.vertex_counts = [len(mesh.vertices_start_m) for mesh in meshes]
        self.caster = RayCaster(self.vertices_m, joined.faces)
        self._joined = joined
        self._lighting = state.lighting

    @cached_property
    def _at_faces(self) -> np.ndarray:
        """(F, 3 * _CHANNELS): values at each face's first vertex, then what they rise by towards the others."""
        joined = self._joined
        normals = vertex_normals(self.vertices_m, joined.faces, joined.vertex_from_face)
        light, openness, seen = vertex_light(
            self.vertices_m, normals, joined.translucent, joined.neighbour_mean, self.caster, self._lighting
        )
        values = np.empty((len(normals), _CHANNELS), dtype=np.float32)
        values[:, _LIGHT] = _scattered(light, joined)
        values[:, _NORMAL] = normals
        values[:, _OPEN] = openness
        values[:, _KEY] = seen[:, 0] if seen.shape[1] else 0
        corners = values[joined.faces]
        corners[:, 1:] -= corners[:, :1]
        return corners.reshape(len(joined.faces), 3 * _CHANNELS)

    def colours(
        self,
        face: np.ndarray,
        uv: np.ndarray,
        texel: np.ndarray,
        towards_eye: np.ndarray,
        across: np.ndarray,
        slopes: np.ndarray,
    ) -> np.ndarray:
        """sRGB colours (R, 3) uint8, BGR, of points by face (R,), barycentrics (R, 2) and texel (R,).

        towards_eye: (R, 3) unit. across: (2, 3) unit world directions of the image's axes. slopes: (R, 2) rise of the
        relief along them.
        """
        rows = self._at_faces.take(face, axis=0)
        values = rows[:, :_CHANNELS] + uv[:, :1] * rows[:, _CHANNELS : 2 * _CHANNELS]
        values += uv[:, 1:] * rows[:, 2 * _CHANNELS :]
        albedo = _SQUARES.take(self._joined.albedo.take(texel, axis=0))
        gloss = self._joined.gloss.take(texel).astype(np.float32) / 255
        normals = values[:, _NORMAL]
        normals /= np.sqrt(np.einsum("ij,ij->i", normals, normals))[:, None]
        light = np.maximum(values[:, _LIGHT], 0)
        facing_eye = np.einsum("ij,ij->i", normals, towards_eye)
        key = self._lighting.lights[0] if self._lighting.lights else None
        shine = np.zeros(len(face), np.float32)
        if key is not None:
            towards = unit(key.towards_world)
            facing = normals @ towards
            tilt = slopes @ (across @ towards)
            strength = values[:, _KEY] * float(np.mean(key.radiance))
            light *= np.clip(1 - tilt * strength / (light[:, 1] + 0.05), 0.6, 1.35)[:, None]
            facing -= tilt
            shine = self._lobe(facing, facing_eye, towards_eye @ towards, gloss) * np.clip(values[:, _KEY], 0, 1)
        colour = albedo * light
        grazing = (1 - np.clip(facing_eye, 0, 1)) ** 4
        if self._lighting.around is None:
            sky = np.asarray(self._lighting.sky, np.float32) * (0.6 + 0.4 * (normals @ UP_WORLD))[:, None]
        else:
            sky = light_around(normals, self._lighting.around)
        colour += (0.03 + 0.25 * grazing * gloss * np.clip(values[:, _OPEN], 0, 1))[:, None] * gloss[:, None] * sky
        if key is not None:
            colour += shine[:, None] * np.asarray(key.radiance, np.float32)
        levels = np.clip(colour * (_LEVELS - 1), 0, _LEVELS - 1).astype(np.int32)
        return _SRGB.take(levels[:, ::-1])

    def heights(self, texel: np.ndarray) -> np.ndarray:
        """Relief (R,) uint8 at texels: 128 is the mesh."""
        return self._joined.height.take(texel)

    @staticmethod
    def _lobe(facing: np.ndarray, facing_eye: np.ndarray, cosine: np.ndarray, gloss: np.ndarray) -> np.ndarray:
        """The share (R,) of a lamp's light that is mirrored to the eye."""
        half = np.sqrt(np.maximum(2 + 2 * cosine, 1e-3))
        aligned = np.clip((facing + facing_eye) / half, 0, 1)
        sharpness = 10 + 50 * gloss
        fresnel = 0.04 + 0.96 * (1 - half / 2) ** 5
        strength = gloss * fresnel * (sharpness + 2) * 0.16
        return strength * np.exp(sharpness * (aligned - 1)) * np.clip(facing * 4, 0, 1)


def slopes_of(heights: np.ndarray, pixel_m: float) -> np.ndarray:
    """Rise (h, w, 2) along the image's axes of a relief (h, w) uint8 whose pixels lie `pixel_m` apart."""
    scale = RELIEF_M / 255 / pixel_m / 8
    return np.stack(
        [cv2.Sobel(heights, cv2.CV_32F, 1, 0, scale=scale), cv2.Sobel(heights, cv2.CV_32F, 0, 1, scale=scale)], axis=-1
    )


def _scattered(light: np.ndarray, joined: _Joined) -> np.ndarray:
    """Light (N, 3) that has wandered within the skin: red far, green less, blue least."""
    spread = light.copy()
    once = joined.neighbour_mean @ light
    twice = joined.neighbour_mean @ once
    spread[:, 0] = 0.35 * once[:, 0] + 0.65 * (joined.neighbour_mean @ twice[:, 0])
    spread[:, 1] = 0.7 * once[:, 1] + 0.3 * twice[:, 1]
    spread[:, 2] = once[:, 2]
    return spread

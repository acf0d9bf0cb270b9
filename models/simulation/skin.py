"""What skin looks like: tones, blood, creases, wrinkles, nails, veins and hair, drawn on a hand's mesh."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from models.hand.mesh import HandMesh
from models.hand.skeleton import REST_JOINTS_M
from models.simulation.noise3d import fractal, noise
from models.simulation.scene import Surface
from models.simulation.surfaces import at_texels, flipped, pack
from models.simulation.worn import Worn, paint_worn

# Linear RGB that blood-free, pigment-free skin reflects, and how strongly pigment, blood and carotene absorb.
_BASE = np.array([0.80, 0.62, 0.49], dtype=np.float32)
_MELANIN = np.array([2.0, 2.5, 2.7], dtype=np.float32)
_BLOOD = np.array([0.07, 0.55, 0.45], dtype=np.float32)
_CAROTENE = np.array([0.0, 0.04, 0.30], dtype=np.float32)
_NAIL_BED = np.array([0.62, 0.40, 0.36], dtype=np.float32)
# At rest. Knuckles and the middles of the fingertips redden; the other joints are those that fold.
_JOINTS_M = REST_JOINTS_M.astype(np.float32)
_KNUCKLES, _MIDDLES, _TIPS = [5, 9, 13, 17], [3, 6, 10, 14, 18], [4, 8, 12, 16, 20]


@dataclass(frozen=True, kw_only=True)
class Skin:
    """One person's skin. melanin: 0 the lightest, 1 the darkest. blood: 0 pale, 1 flushed. carotene: 0 to 1, yellow.
    mottling, wrinkles, veins, gloss: 0 none to 1 strong. sleeve: linear RGB of a cuff over the forearm, None bare.
    worn: rings, or a watch."""

    melanin: float = 0.25
    blood: float = 0.5
    carotene: float = 0.3
    mottling: float = 0.5
    wrinkles: float = 0.5
    veins: float = 0.3
    gloss: float = 0.4
    sleeve: tuple[float, float, float] | None = None
    sleeve_from_wrist_m: float = 0.02
    worn: Worn | None = None
    seed: int = 0


def random_skin(rng: np.random.Generator) -> Skin:
    """Somebody's skin; light and dark alike are common."""
    sleeve = None
    if rng.random() < 0.5:
        grey = rng.uniform(0.02, 0.6)
        red, green, blue = np.clip(grey * (1 + rng.uniform(-0.6, 0.6, 3)), 0.01, 0.8)
        sleeve = float(red), float(green), float(blue)
    return Skin(
        melanin=float(np.clip(rng.beta(1.1, 1.6), 0.0, 1.0)),
        blood=float(rng.uniform(0.2, 0.9)),
        carotene=float(rng.uniform(0, 0.9)),
        mottling=float(rng.uniform(0.2, 0.8)),
        wrinkles=float(rng.uniform(0.2, 1.0)),
        veins=float(rng.uniform(0, 0.7) * rng.integers(0, 2)),
        gloss=float(rng.uniform(0.2, 0.6)),
        sleeve=sleeve,
        sleeve_from_wrist_m=float(rng.uniform(-0.005, 0.035)),
        seed=int(rng.integers(2**31)),
    )


def hand_surface(mesh: HandMesh, faces: np.ndarray, skin: Skin) -> Surface:
    """The surface of a hand whose skin is `skin`. `faces` (F, 3) are the mesh's own or, for a left hand, flipped."""
    texels, gloss = _drawn(mesh, skin)
    if not np.array_equal(faces, mesh.faces):
        texels, gloss = flipped(texels), flipped(gloss)
    return Surface(np.ascontiguousarray(faces, np.int32), texels, gloss, translucent=True)


@lru_cache(maxsize=4)
def _drawn(mesh: HandMesh, skin: Skin) -> tuple[np.ndarray, np.ndarray]:
    """Texels (F, TEXELS, 4) and gloss (F, TEXELS), uint8, on the mesh's own faces."""
    rest_m = mesh.rest_vertices_m.astype(np.float32)
    points = at_texels(rest_m, mesh.faces)
    blood, melanin, palm, nail = np.moveaxis(at_texels(_tones(mesh, rest_m, skin), mesh.faces), -1, 0)
    fine = noise(points, 0.006, skin.seed + 2) + 0.6 * noise(points, 0.003, skin.seed + 3)
    melanin = melanin + 0.02 * (0.5 + skin.melanin) * skin.mottling * fine
    height = 0.00004 * noise(points, 0.0045, skin.seed + 4) + 0.000015 * fine

    lines, grooves = _joint_lines(mesh, points, palm, skin)
    creases = _palm_creases(mesh, points, palm, skin)
    dark = np.maximum(lines, creases)
    blood = blood + 0.5 * dark
    melanin += 0.15 * (0.3 + skin.melanin) * dark
    veins = _veins(mesh, points, palm, skin)
    height += 0.0003 * veins - 0.0003 * np.maximum(grooves, creases)

    blood = np.maximum(blood, 0) * (1 - 0.5 * skin.melanin)
    albedo = _BASE * np.exp(
        -np.maximum(melanin, 0)[..., None] * _MELANIN - blood[..., None] * _BLOOD - skin.carotene * _CAROTENE
    )
    albedo *= 1 - veins[..., None] * np.asarray([0.20, 0.07, 0.0], np.float32) - 0.12 * dark[..., None]
    gloss = skin.gloss * (1 + 0.15 * fine)
    _paint_nails(albedo, gloss, nail, skin)
    if skin.worn is not None:
        paint_worn(albedo, gloss, height, points, _fingers(mesh), skin.worn)
    if skin.sleeve is not None:
        _paint_sleeve(albedo, gloss, height, points, skin)
    return pack(albedo, height), np.clip(255 * gloss, 0, 255).astype(np.uint8)


def _tones(mesh: HandMesh, rest_m: np.ndarray, skin: Skin) -> np.ndarray:
    """What changes slowly over the hand, at its vertices (N, 4): blood, melanin, palm, nail."""
    palm = mesh.palm.astype(np.float32)
    knuckle = _near(rest_m, _JOINTS_M[_KNUCKLES], 0.011) + _near(rest_m, _JOINTS_M[_MIDDLES], 0.008)
    blood = skin.blood + 0.25 * skin.mottling * fractal(rest_m, 0.03, skin.seed) + 0.3 * palm
    blood += 0.35 * knuckle + 0.45 * _near(rest_m, _JOINTS_M[_TIPS], 0.013)
    # Palms hold little melanin.
    melanin = skin.melanin * (1 - 0.55 * palm * min(1.0, 0.3 + skin.melanin) + 0.12 * knuckle * (1 - palm))
    melanin += 0.03 * (0.4 + skin.melanin) * skin.mottling * fractal(rest_m, 0.02, skin.seed + 1)
    return np.stack([blood, melanin, palm, mesh.nail.astype(np.float32)], axis=1)


def _near(points: np.ndarray, places_m: np.ndarray, width_m: float) -> np.ndarray:
    """1 at the places, falling to 0 around them: (...)."""
    square = np.min([((points - place) ** 2).sum(axis=-1) for place in places_m], axis=0)
    return np.exp(-square / (2 * width_m**2))


def _joint_lines(mesh: HandMesh, points: np.ndarray, palm: np.ndarray, skin: Skin) -> tuple[np.ndarray, np.ndarray]:
    """Creases across the palmar side of the fingers' joints, and wrinkles across their backs: darkness and depth, each
    (F, TEXELS)."""
    dark, deep = np.zeros(palm.shape, np.float32), np.zeros(palm.shape, np.float32)
    fingers = _fingers(mesh)
    for finger in range(5):
        for joint in range(1 + 4 * finger + (finger == 0), 4 + 4 * finger):
            away = points[:, 0] - _JOINTS_M[joint]
            faces = np.flatnonzero((fingers[:, finger] > 0.05) & ((away**2).sum(axis=-1) < 0.028**2))
            on = points[faces]
            along = _JOINTS_M[joint + 1] - _JOINTS_M[joint]
            offset = (on - _JOINTS_M[joint]) @ (along / np.linalg.norm(along)) + 0.0005 * noise(
                on, 0.006, skin.seed + 5
            )
            near = fingers[faces, finger, None] * _near(on, _JOINTS_M[[joint]], 0.014)
            at_web = finger > 0 and joint % 4 == 1
            first, second = (0.012, 0.0145) if at_web else (-0.0012, 0.0016)
            crease = near * palm[faces] * (_line(offset - first, 0.0005) + 0.7 * _line(offset - second, 0.0005))
            if not at_web:
                rings = np.maximum(np.cos(offset * (2 * np.pi / 0.0024)), 0) ** 2 * _line(offset, 0.003)
                rings *= near * np.clip(1 - 1.6 * palm[faces], 0, 1) * skin.wrinkles
                deep[faces] = np.maximum(deep[faces], rings)
                crease = np.maximum(crease, 0.4 * rings)
            dark[faces] = np.maximum(dark[faces], crease)
    return dark, np.maximum(deep, dark)


def _fingers(mesh: HandMesh) -> np.ndarray:
    """How much each face belongs to each finger: (F, 5)."""
    return mesh.weights[mesh.faces].mean(axis=1)[:, 1:].reshape(-1, 5, 3).sum(axis=-1).astype(np.float32)


def _palm_creases(mesh: HandMesh, points: np.ndarray, palm: np.ndarray, skin: Skin) -> np.ndarray:
    """The three long lines of the palm and fine ones besides: darkness (F, TEXELS)."""
    rng = np.random.default_rng(skin.seed + 8)
    wrist, thumb, index, middle, ring, little = _JOINTS_M[[0, 1, 5, 9, 13, 17], :2]
    corners = np.array([
        # Below the little finger to between index and middle finger.
        [_at(little, wrist, 0.12) + [0, -0.012], _at(ring, wrist, 0.18), _at(middle, wrist, 0.10),
         _at(index, middle, 0.55) + [0.006, 0]],
        # From beside the index finger across the palm, and around the ball of the thumb.
        [_at(index, wrist, 0.16) + [0, 0.012], _at(middle, wrist, 0.30), _at(ring, wrist, 0.42),
         _at(little, wrist, 0.48)],
        [_at(index, wrist, 0.18) + [0, 0.012], _at(middle, wrist, 0.42) + [0, 0.008],
         _at(middle, wrist, 0.68) + [0, 0.006], _at(wrist, thumb, 0.35) + [0.004, -0.008]],
    ])  # fmt: skip
    corners += rng.normal(0, 0.0015, corners.shape)
    faces = np.flatnonzero(
        (palm[:, 0] > 0.35) & (mesh.weights[mesh.faces, 0].max(axis=1) > 0.1) & (points[:, 0, 0] > 0)
    )
    on = points[faces]
    wobbly = on[..., :2] + 0.0007 * noise(on, 0.012, skin.seed + 9)[..., None]
    strength = 0.75 + 0.25 * noise(on, 0.02, skin.seed + 13)
    lines = strength * np.max([_line(_distance(wobbly, _curve(line)), 0.0008) for line in corners], axis=0)
    fine = np.clip(1 - np.abs(noise(on * np.asarray([1, 1, 0.1], np.float32), 0.016, skin.seed + 10)) * 12, 0, 1)
    dark = np.zeros(palm.shape, np.float32)
    dark[faces] = np.maximum(lines, 0.2 * skin.wrinkles * fine) * np.clip(2 * palm[faces] - 0.8, 0, 1)
    return dark


def _at(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    return start + share * (end - start)


def _curve(corners: np.ndarray) -> np.ndarray:
    """Points (9, 2) on a smooth curve through four corners: a cubic through them at even parameters."""
    fit = np.polynomial.polynomial.polyfit(np.linspace(0, 1, len(corners)), corners, len(corners) - 1)
    return np.polynomial.polynomial.polyval(np.linspace(0, 1, 9), fit).T.astype(np.float32)


def _distance(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """How far points (..., 2) are from a polyline (n, 2)."""
    squares = []
    for start, end in zip(line[:-1], line[1:], strict=True):
        along, local = end - start, points - start
        share = np.clip(local @ along / (along @ along), 0, 1)
        squares.append(((local - share[..., None] * along) ** 2).sum(axis=-1))
    return np.sqrt(np.min(squares, axis=0))


def _line(distance: np.ndarray, width_m: float) -> np.ndarray:
    return np.exp(-((distance / width_m) ** 2) / 2)


def _veins(mesh: HandMesh, points: np.ndarray, palm: np.ndarray, skin: Skin) -> np.ndarray:
    """Veins along the back of the hand and the forearm: (F, TEXELS)."""
    veins = np.zeros(palm.shape, np.float32)
    if skin.veins > 0:
        faces = np.flatnonzero((palm[:, 0] < 0.5) & (mesh.weights[mesh.faces, 0].min(axis=1) > 0.6))
        stretched = at_texels(_bulges(mesh, skin)[:, None], mesh.faces[faces])[..., 0]
        veins[faces] = skin.veins * np.clip(1 - 5 * np.abs(stretched), 0, 1) * np.clip(1 - 2 * palm[faces], 0, 1)
    return veins


def _bulges(mesh: HandMesh, skin: Skin) -> np.ndarray:
    """A smooth function (N,) whose zeros run mostly along the arm."""
    stretched_m = mesh.rest_vertices_m * (0.4, 1, 1)
    return fractal(stretched_m.astype(np.float32), 0.036, skin.seed + 6, 2)


def _paint_nails(albedo: np.ndarray, gloss: np.ndarray, nail: np.ndarray, skin: Skin) -> None:
    bed = _NAIL_BED * np.exp(-0.3 * skin.melanin * _MELANIN)
    share = np.clip(1.6 * nail - 0.3, 0, 1)
    albedo += share[..., None] * (bed - albedo)
    albedo *= 1 - 0.22 * np.clip(4 * nail * (1 - nail), 0, 1)[..., None]
    gloss += share * (0.75 - gloss)


def _paint_sleeve(albedo: np.ndarray, gloss: np.ndarray, height: np.ndarray, points: np.ndarray, skin: Skin) -> None:
    cloth = np.clip(0.5 - (points[..., 0] + skin.sleeve_from_wrist_m) / 0.0015, 0, 1)
    folds = 0.5 * noise(points * np.asarray([1, 0.5, 0.5], np.float32), 0.025, skin.seed + 11)
    shade = 1 + 0.08 * noise(points, 0.002, skin.seed + 12) + 0.15 * folds
    albedo += cloth[..., None] * (np.asarray(skin.sleeve, np.float32) * shade[..., None] - albedo)
    gloss *= 1 - cloth
    height += cloth * (0.00025 * folds - height)

"""People's hands: the shape (21,) of the built-in hand is 20 bone lengths in metres, then a thickness (1 = mean)."""

import numpy as np

from calibration.errors import UserError
from calibration.hand import BONES, FINGERS
from models.hand import skeleton

MEAN_SHAPE = np.append(skeleton.MEAN_BONE_LENGTHS_M, 1.0)

# From a small child's hand to more than the largest adult's.
SMALLEST, LARGEST = 0.45, 1.75
# Hand length varies by 5 % over adults (T. M. Greiner, "Hand anthropometry of U.S. Army personnel", 1991).
_SIZE_SD = 0.05
_THICKNESS_SD = 0.07


def check_shape(shape: np.ndarray) -> None:
    """Raises UserError unless shape (21,) is finite and each number lies between a child's and a giant's."""
    shape = np.asarray(shape)
    if shape.shape != (21,):
        raise UserError(
            f"Hand shape: got numbers of shape {shape.shape}, expected 20 bone lengths in m and a thickness."
        )
    if not np.isfinite(shape).all():
        raise UserError("Hand shape: it holds numbers that are not finite; give lengths in metres.")
    relative = shape / MEAN_SHAPE
    worst = int(np.argmax(np.abs(np.log(np.maximum(relative, 1e-9)))))
    if SMALLEST <= relative[worst] <= LARGEST:
        return
    low, high = SMALLEST * MEAN_SHAPE[worst], LARGEST * MEAN_SHAPE[worst]
    if worst == 20:
        raise UserError(f"Hand shape: got a thickness of {shape[20]:.3g}, expected {low:.2f} to {high:.2f} (1 = mean).")
    raise UserError(
        f"Hand shape: the {bone_name(worst)} is {1000 * shape[worst]:.3g} mm long, "
        f"expected {1000 * low:.0f} to {1000 * high:.0f} mm; check that lengths are in metres."
    )


def bone_name(bone: int) -> str:
    """What to call a bone of calibration.hand.BONES, such as "index finger's bone from joint 5 to 6"."""
    parent, child = BONES[bone]
    return f"{FINGERS[bone // 4]} finger's bone from joint {parent} to {child}".replace("thumb finger", "thumb")


def own_spread() -> np.ndarray:
    """Standard deviation (20,) of each bone's length over what the hand's size makes of it, as a fraction of it."""
    total = skeleton.BONE_LENGTHS_SD_M / skeleton.MEAN_BONE_LENGTHS_M
    return np.sqrt(np.maximum(total**2 - _SIZE_SD**2, 0.02**2))


def random_shape(generator: np.random.Generator) -> np.ndarray:
    """The shape (21,) of a random adult: a size common to all bones, then what is left of each bone's own spread."""
    size = np.clip(generator.normal(1, _SIZE_SD), 0.85, 1.15)
    mean = skeleton.MEAN_BONE_LENGTHS_M
    lengths = mean * size * (1 + own_spread() * np.clip(generator.normal(size=20), -2, 2))
    return np.append(lengths, size * np.clip(generator.normal(1, _THICKNESS_SD), 0.8, 1.2))


def shape_basis(rest_vertices_m: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How rest vertices (N, 3) move with the shape: basis (N, 3, 21), vertices(shape) = rest + basis @ (shape - mean).

    A bone's length stretches what hangs on it along its axis and carries what lies beyond; in the palm the fan of lines
    from the wrist to the first joints stretches instead. Thickness moves vertices away from the axes. Each vertex
    follows its bones by its skinning weights (N, 16), so that the surface stays smooth.
    """
    transforms = skeleton.bone_transforms(skeleton.REST_ANGLES_RAD, skeleton.MEAN_BONE_LENGTHS_M)
    lengths = skeleton.MEAN_BONE_LENGTHS_M.reshape(5, 4)
    basis, thickness = _palm_basis(rest_vertices_m)
    basis *= weights[:, 0, None, None]
    thickness *= weights[:, 0, None]
    for bone in range(1, 16):
        finger, level = divmod(bone - 1, 3)
        weight = weights[:, bone, None]
        axis = transforms[bone, :3, 0]
        offsets = rest_vertices_m - transforms[bone, :3, 3]
        along = offsets @ axis
        first = 4 * finger
        basis[:, :, first] += weight * skeleton.FIRST_JOINT_DIRECTIONS[finger]
        for inner in range(level):
            basis[:, :, first + 1 + inner] += weight * transforms[1 + 3 * finger + inner, :3, 0]
        basis[:, :, first + 1 + level] += weight * (along / lengths[finger, 1 + level])[:, None] * axis
        thickness += weight * (offsets - along[:, None] * axis)
    return np.concatenate([basis, thickness[:, :, None]], axis=2)


def _palm_basis(vertices_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The palm's part in shape_basis: (N, 3, 20) for the lengths and (N, 3) for the thickness."""
    directions = skeleton.FIRST_JOINT_DIRECTIONS
    lengths = skeleton.MEAN_BONE_LENGTHS_M[::4]
    share = np.clip(vertices_m @ directions.T / lengths, 0, 1)
    nearest = share[..., None] * (directions * lengths[:, None])
    distances2 = np.sum((vertices_m[:, None] - nearest) ** 2, axis=-1)
    closeness = 1 / (distances2 + 0.005**2) ** 2
    closeness /= closeness.sum(axis=1, keepdims=True)
    basis = np.zeros((len(vertices_m), 3, 20))
    basis[:, :, ::4] = ((closeness * share)[..., None] * directions).swapaxes(1, 2)

    # The palm grows thicker upwards, downwards and beyond its outer metacarpals; what lies behind the wrist, around x.
    forward = np.maximum(vertices_m[:, 0], 0)
    slopes = directions[:, 1] / directions[:, 0]
    inside = np.clip(vertices_m[:, 1], forward * slopes[4], forward * slopes[1])
    thickness = np.stack([np.zeros(len(vertices_m)), vertices_m[:, 1] - inside, vertices_m[:, 2]], axis=1)
    return basis, thickness

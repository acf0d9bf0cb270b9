"""Soft distances between the points of a group, which then are solved for together."""

from dataclasses import dataclass

import numpy as np

from calibration.triangulation.settings import ROBUST


@dataclass(frozen=True)
class Links:
    """Soft constraints on distances within a group: `pairs` (L, 2) of points, `lengths_m` and `stds_m` (G, L).

    An infinite std switches a link off.
    """

    pairs: np.ndarray
    lengths_m: np.ndarray
    stds_m: np.ndarray


def with_links(
    solvable: np.ndarray, information: np.ndarray, gradient: np.ndarray, points: np.ndarray, links: Links
) -> tuple[np.ndarray, np.ndarray]:
    """The group's normal equations (G, 3J, 3J) and (G, 3J) with the soft distances added."""
    _, groups, joints = points.shape
    first, second = links.pairs[:, 0], links.pairs[:, 1]
    between = points[..., second] - points[..., first]
    length = np.maximum(np.sqrt(between[0] ** 2 + between[1] ** 2 + between[2] ** 2), 1e-6)
    usable = solvable[:, first] & solvable[:, second]
    scale = np.where(usable, 1 / links.stds_m, 0.0)
    direction = between / length
    error = (length - links.lengths_m) * scale
    # Huber's weights: a length that is far off pulls no harder than one that is somewhat off.
    pull = scale / np.maximum(1.0, np.abs(error) / ROBUST.cauchy_stds)
    # Each link adds to the blocks of its two points, and what it adds on the diagonal it takes off beside it.
    outer = (pull * scale) * direction[:, None] * direction
    ends = np.zeros((len(first), joints))
    ends[np.arange(len(first)), first] = -1.0
    ends[np.arange(len(first)), second] = 1.0
    own = np.arange(joints)
    blocks = np.zeros((groups, joints, 3, joints, 3))
    blocks[:, own, :, own, :] = (information + outer @ np.abs(ends)).transpose(3, 2, 0, 1)
    beside = outer.transpose(3, 2, 0, 1)
    blocks[:, first, :, second, :] = -beside
    blocks[:, second, :, first, :] = -beside
    gradient = gradient + (direction * (pull * error)) @ ends
    return blocks.reshape(groups, 3 * joints, -1), gradient.transpose(1, 2, 0).reshape(groups, -1)


def solve_groups(information: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Steps (3, G, J) of groups with information (G, 3J, 3J) and gradient (G, 3J)."""
    solved = np.linalg.solve(information, gradient[..., None])
    return solved.reshape(len(solved), -1, 3).transpose(2, 0, 1)


def own_covariances(information: np.ndarray) -> np.ndarray:
    """The points' own blocks (G, J, 3, 3) of the inverse of the groups' information (G, 3J, 3J)."""
    joints = information.shape[-1] // 3
    inverse = np.linalg.inv(information).reshape(-1, joints, 3, joints, 3)
    own = np.arange(joints)
    return np.swapaxes(inverse[:, own, :, own, :], 0, 1)

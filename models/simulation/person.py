"""A random person: how large their hands are, and what their skin looks like."""

from dataclasses import dataclass

import numpy as np

from models.hand.shape import MEAN_SHAPE, random_shape
from models.simulation.skin import Skin, random_skin

_FOREARM_RATE = 0.75


@dataclass(frozen=True, eq=False)
class Person:
    """`shape` (21,) of both hands, see models/hand/shape.py, and their skin. Without `forearms` nothing is seen of them
    beyond the wrist."""

    shape: np.ndarray
    skin: Skin
    forearms: bool = True


def random_person(random: np.random.Generator) -> Person:
    return Person(random_shape(random), random_skin(random), bool(random.random() < _FOREARM_RATE))


MEAN_PERSON = Person(MEAN_SHAPE, Skin())

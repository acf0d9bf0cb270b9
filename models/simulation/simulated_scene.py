"""Everything that is where at one time: hands with their people, things, lights and what each camera sees behind them.

A pure function of a seed and the time: two scenes of one seed and one rig are the same in every pixel.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from calibration.hand import Side
from calibration.rig import Rig
from calibration.rotations import make_transform
from models.hand.builtin import BuiltinHand
from models.simulation.arm import arm_model, bend_wrist
from models.simulation.backgrounds import random_background
from models.simulation.grip import Grip
from models.simulation.hands import CENTRE_WORLD_M, PERSON_LATER_S, T_world_seat, demo_motions, hand_name, home_world_m
from models.simulation.looks import random_lighting, random_sensor
from models.simulation.motion import HandMotion
from models.simulation.objects import Thing, random_thing
from models.simulation.person import MEAN_PERSON, Person, random_person
from models.simulation.pinch_grip import random_pinch_grip
from models.simulation.plate_grip import random_plate_grip
from models.simulation.scene import Light, Lighting, PosedHand, PosedObject, SceneState, SceneView, Sensor
from models.simulation.simulated_rig import people_in
from models.simulation.skin import hand_surface
from models.simulation.tool_grip import random_tool_grip
from models.simulation.touching import TouchingMotion
from models.simulation.worn import random_worn

Hands = Literal["right", "left", "both"]

_LONGEST_EXPOSURE_S = 0.012
_HELD_RATE, _FLOATING_RATE = 0.3, 0.25
_HELD_RADII_M = (0.013, 0.034)
# Where a held thing's middle lies in the hand frame: under the knuckles, as far below them as palm and thing are thick.
_HELD_X_M, _PALM_HALF_M = 0.082, 0.015
_DEMO_BACKGROUNDS = (8, 17, 33, 12, 6, 21, 4, 26, 41, 2, 14, 29, 35, 9, 23, 38)
_DEMO_EXPOSURE_S = 0.006


@dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """What a random scene may hold.

    `anywhere` lets hands take any orientation; else they are as before a rig on a desk. `things` are held objects and
    ones that float through the view. `backgrounds` is a folder of pictures; without one they are made up. `people` sit
    around a table, each with those hands. `flat` is the share of hands that hold something flat by its edge, `pinch`
    that of hands with something small between thumb and finger, `tool` that of hands with a pen or a handle;
    `touching` that of people whose two hands touch, and hold nothing then; `worn` that of hands with rings or a watch.
    """

    hands: Hands = "both"
    anywhere: bool = True
    things: bool = True
    backgrounds: Path | None = None
    people: int = 1
    flat: float = 0.0
    pinch: float = 0.0
    tool: float = 0.0
    touching: float = 0.0
    worn: float = 0.0


@dataclass(frozen=True, eq=False)
class PosedJoints:
    """One hand at one time: `joints_world_m` (21, 3), `angles_rad` (A,), `T_world_hand` (4, 4), `shape` (21,)."""

    joints_world_m: np.ndarray
    angles_rad: np.ndarray
    T_world_hand: np.ndarray
    shape: np.ndarray


class Actor:
    """A hand of a scene: whose it is and how it moves; it may hold a thing."""

    def __init__(
        self,
        motion: HandMotion | TouchingMotion,
        person: Person,
        T_world_seat: np.ndarray,
        held: Thing | None = None,
        T_hand_held: np.ndarray | None = None,
        later_s: float = 0,
    ) -> None:
        self._later_s = later_s
        self._motion, self._T_world_seat = motion, T_world_seat
        self._held, self._T_hand_held = held, np.eye(4) if T_hand_held is None else T_hand_held
        self._model = arm_model(motion.side) if person.forearms else BuiltinHand(motion.side)
        self._forearm = person.forearms
        self._surface = hand_surface(self._model.mesh, self._model.faces, person.skin)
        self.shape = person.shape

    @property
    def side(self) -> Side:
        return self._motion.side

    def pose(self, time_s: float) -> PosedJoints:
        of_motion_s = time_s + self._later_s
        angles, T = self._motion.angles_rad(of_motion_s), self._T_world_seat @ self._motion.T_world_hand(of_motion_s)
        return PosedJoints(self._model.joints(angles, T, self.shape), angles, T, self.shape)

    def posed(self, start_s: float, end_s: float) -> tuple[PosedHand, list[PosedObject]]:
        """The hand, and what it holds, while the shutter is open."""
        times_s = start_s, end_s
        poses = [self.pose(time_s) for time_s in times_s]
        start_m, end_m = (self._vertices(pose, time_s) for pose, time_s in zip(poses, times_s, strict=True))
        joints_m = self.pose((start_s + end_s) / 2).joints_world_m
        hand = PosedHand(
            side=self._motion.side,
            vertices_start_m=start_m,
            vertices_end_m=end_m,
            joints_m=joints_m,
            surface=self._surface,
            thickness=float(self.shape[20]),
        )
        if self._held is None:
            return hand, []
        return hand, [_moved(self._held, *(pose.T_world_hand @ self._T_hand_held for pose in poses))]

    def skin_hand_m(self, time_s: float) -> np.ndarray:
        """Where its skin is (N, 3), in the hand frame."""
        pose = self.pose(time_s)
        return (self._vertices(pose, time_s) - pose.T_world_hand[:3, 3]) @ pose.T_world_hand[:3, :3]

    def _vertices(self, pose: PosedJoints, time_s: float) -> np.ndarray:
        vertices_m = self._model.pose(pose.angles_rad, pose.T_world_hand, self.shape)[1]
        if not self._forearm:
            return vertices_m
        bend_rad = self._motion.wrist_bend_rad(time_s + self._later_s)
        return bend_wrist(vertices_m, self._model, pose.T_world_hand, *bend_rad)


@dataclass(frozen=True, eq=False, kw_only=True)
class SimulatedScene:
    """Hands in the middle of a rig, by `hand_name`; `views` by camera id. `random_scene` and `demo_scene` make one."""

    seed: int
    actors: Mapping[str, Actor]
    lighting: Lighting
    views: Mapping[str, SceneView]
    exposure_s: float
    floating: tuple[Thing, HandMotion] | None = None

    def hands(self, time_s: float) -> dict[str, PosedJoints]:
        """Where all hands are at a time."""
        return {name: actor.pose(time_s) for name, actor in self.actors.items()}

    def state(self, time_s: float) -> SceneState:
        """What there is to see at a time, the middle of the exposure; the hands are in the order of `actors`."""
        start_s, end_s = time_s - self.exposure_s / 2, time_s + self.exposure_s / 2
        hands: list[PosedHand] = []
        things: list[PosedObject] = []
        for actor in self.actors.values():
            hand, held = actor.posed(start_s, end_s)
            hands.append(hand)
            things += held
        if self.floating is not None:
            thing, motion = self.floating
            things.append(_moved(thing, motion.T_world_hand(start_s), motion.T_world_hand(end_s)))
        noise_seed = (self.seed << 40) + round(time_s * 1e6) % (1 << 40)
        return SceneState(
            hands=tuple(hands), objects=tuple(things), lighting=self.lighting, views=self.views, noise_seed=noise_seed
        )


def random_scene(rig: Rig, seed: int, settings: SceneSettings | None = None) -> SimulatedScene:
    """People's hands in the middle of `rig`, somewhere in the world; all of it follows from `seed`.

    Raises UserError for a folder of backgrounds without a picture.
    """
    settings = settings or SceneSettings()
    random = np.random.default_rng([seed, 11])
    sides: tuple[Side, ...] = ("left", "right") if settings.hands == "both" else (settings.hands,)
    actors: dict[str, Actor] = {}
    for number in range(settings.people):
        of_person = random if number == 0 else np.random.default_rng([seed, 11, number])
        person = random_person(of_person)
        if len(sides) == 2 and settings.anywhere:
            # Two forearms that point anywhere would go through the hands.
            person = replace(person, forearms=False)
        seat = T_world_seat(number, settings.people)
        if len(sides) == 2 and np.random.default_rng([seed, 15, number]).random() < settings.touching:
            actors |= _touching(seed, number, person, seat, settings)
            continue
        for side in sides:
            holds = settings.things and of_person.random() < _HELD_RATE
            radius_m = of_person.uniform(*_HELD_RADII_M) if holds else None
            grip = _grip(seed, number, side, person, settings)
            motion = HandMotion(
                (seed, 12, int(side == "left"), *([number] if number else [])),
                side,
                home_world_m=home_world_m(side, len(sides)),
                reach_m=0.035 if len(sides) == 2 else 0.07,
                anywhere=settings.anywhere,
                held_radius_m=radius_m,
                held_angles_rad=None if grip is None else grip.angles_rad,
            )
            held = None if radius_m is None else _of_radius(random_thing(of_person), radius_m)
            T_hand_held = _across_palm(radius_m or 0.0)
            if grip is not None:
                held, T_hand_held = grip.thing, grip.T_hand_thing
            dressed = _with_worn(seed, number, side, person, settings)
            actors[hand_name(side, number)] = Actor(motion, dressed, seat, held, T_hand_held)
    floating = None
    if settings.things and random.random() < _FLOATING_RATE:
        away = random.normal(size=3)
        home = CENTRE_WORLD_M + 0.17 * away / np.linalg.norm(away)
        floating = random_thing(random), HandMotion((seed, 13), home_world_m=home, reach_m=0.06, anywhere=True)
    exposure_s = random.uniform(0.1, 1.0) * min(_LONGEST_EXPOSURE_S, 0.4 / (rig.sync.fps or 30.0))
    views = {
        camera_id: SceneView(random_background(random, settings.backgrounds), random_sensor(random))
        for camera_id in rig.camera_ids
    }
    return SimulatedScene(
        seed=seed,
        actors=actors,
        lighting=random_lighting(random),
        views=views,
        exposure_s=exposure_s,
        floating=floating,
    )


def demo_scene(rig: Rig) -> SimulatedScene:
    """The hands of `hands_of_people_at` in good light, of the rig's people; it repeats as they do."""
    people = people_in(rig)
    actors = {
        hand_name(side, person): Actor(
            motion, MEAN_PERSON, T_world_seat(person, people), later_s=person * PERSON_LATER_S
        )
        for person in range(people)
        for side, motion in demo_motions().items()
    }
    window, lamp = Light((-0.5, -0.6, 0.9), (0.6, 0.6, 0.62), 0.5), Light((0.8, 0.5, 0.7), (0.36, 0.33, 0.29), 0.15)
    lighting = Lighting((window, lamp))
    sensor = Sensor(blur_px=0.4, noise=1.5, jpeg_quality=None)
    backgrounds = [random_background(np.random.default_rng(seed)) for seed in _DEMO_BACKGROUNDS[: len(rig.cameras)]]
    views = {
        camera_id: SceneView(picture, sensor) for camera_id, picture in zip(rig.camera_ids, backgrounds, strict=True)
    }
    return SimulatedScene(seed=0, actors=actors, lighting=lighting, views=views, exposure_s=_DEMO_EXPOSURE_S)


def _moved(thing: Thing, T_world_start: np.ndarray, T_world_end: np.ndarray) -> PosedObject:
    start_m, end_m = (thing.vertices_m @ T[:3, :3].T + T[:3, 3] for T in (T_world_start, T_world_end))
    return PosedObject(start_m, end_m, thing.surface)


def _grip(seed: int, number: int, side: Side, person: Person, settings: SceneSettings) -> Grip | None:
    random = np.random.default_rng([seed, 14, number, int(side == "left")])
    drawn = random.random()
    kinds = (settings.flat, random_plate_grip), (settings.pinch, random_pinch_grip), (settings.tool, random_tool_grip)
    for share, make in kinds:
        if drawn < share:
            return make(random, side, person.shape)
        drawn -= share
    return None


def _touching(
    seed: int, number: int, person: Person, T_world_seat: np.ndarray, settings: SceneSettings
) -> dict[str, Actor]:
    """The two hands of a person, that touch in the middle."""
    motion = HandMotion(
        (seed, 12, *([number] if number else [])),
        home_world_m=home_world_m("right", 1),
        reach_m=0.035,
        anywhere=settings.anywhere,
    )
    right = Actor(motion, _with_worn(seed, number, "right", person, settings), T_world_seat)
    other = TouchingMotion(motion, right.skin_hand_m, np.random.default_rng([seed, 17, number]))
    left = Actor(other, _with_worn(seed, number, "left", person, settings), T_world_seat)
    return {hand_name("left", number): left, hand_name("right", number): right}


def _with_worn(seed: int, number: int, side: Side, person: Person, settings: SceneSettings) -> Person:
    """The person as that hand shows it, now and then with rings or a watch."""
    random = np.random.default_rng([seed, 16, number, int(side == "left")])
    if random.random() >= settings.worn:
        return person
    return replace(person, skin=replace(person.skin, worn=random_worn(random)))


def _across_palm(radius_m: float) -> np.ndarray:
    """T_hand_held (4, 4) of a thing of that radius in the palm. Things are long in z: they lie across it."""
    across = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    return make_transform(across, np.array([_HELD_X_M, 0.0, -_PALM_HALF_M - radius_m]))


def _of_radius(thing: Thing, radius_m: float) -> Thing:
    """The thing made as thick across its z axis as a hand's grasp is wide."""
    half_m = np.abs(thing.vertices_m).max(axis=0)
    return Thing(thing.vertices_m * [radius_m / half_m[0], radius_m / half_m[1], 1.0], thing.surface)

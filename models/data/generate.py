"""Training data from the simulated rig: crops rendered straight into a cache, with a simulated detector's labels.

A person's hands (and what they hold) are filmed in some short clips, each at another time, in another light and place,
by other cameras, and labelled by a detector of its own. All of it follows from the settings' seed, the split and the
person's number; no two splits or seeds share a person or a rig.
"""

import logging
import multiprocessing
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Literal, get_args

import cv2
import msgspec
import numpy as np

from calibration.errors import UserError
from calibration.hand import Side
from calibration.rig import Rig
from models.data.crop_cache import (
    MARGIN,
    CacheManifest,
    Shard,
    join,
    read_manifest,
    shard_path,
    write_manifest,
    write_shard,
)
from models.data.hand_sequence import HandSequence, crops_of, to_shard
from models.hand.builtin import BuiltinHand
from models.network.config import MAX_VIEWS
from models.simulation.backgrounds import images_in
from models.simulation.detector_noise import GRADES, NoiseGrade, detect
from models.simulation.environment import in_a_place, panoramas_in
from models.simulation.looks import random_lighting, random_sensor
from models.simulation.renderer import hands_in_image, render_crop
from models.simulation.scene import SceneState, SceneView
from models.simulation.simulated_rig import LAYOUTS, random_rig
from models.simulation.simulated_scene import Hands, PosedJoints, SceneSettings, SimulatedScene, random_scene
from models.simulation.worker_process import begin

log = logging.getLogger(__name__)

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
_SHARD_PEOPLE = 4
_MOST = 10**7
_HANDS: tuple[Hands, ...] = ("right", "left", "both")
_HANDS_SHARES = (0.35, 0.35, 0.3)
_SIZES = ((640, 480), (1280, 720), (1280, 960))
_LATEST_S = 60.0


class GenerateSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What to generate: `clips` of each of `people`, of `frames` at `fps`, seen by `views` of a rig's cameras.

    Of the views only `pictured` have pictures (None: all); of the others there are the detector's labels.
    `grades` maps names of GRADES to how often a clip's detector is of that grade. `size_px` is the side of the cached
    crops, MARGIN times the network's; `upright` turns them as models/hand/upright.py says. `backgrounds` is a folder of
    pictures. `flat` is the share of hands that hold something flat by its edge, `pinch` of those with something small
    between thumb and finger, `tool` of those with a pen or a handle. `hdri` is a folder of panoramas that light the
    hands instead of made-up lamps, half of the time with the place itself behind them. `touching` is the share of
    people whose two hands touch, of those with two; `worn` that of hands with rings or a watch.
    """

    split: Split = "train"
    seed: int = 0
    people: int = 200
    clips: int = 8
    frames: int = 10
    fps: float = 30.0
    views: int = 4
    pictured: int | None = None
    size_px: int = 160
    upright: bool = False
    grades: dict[str, float] = msgspec.field(default_factory=lambda: {"moderate": 0.6, "noisy": 0.4})
    backgrounds: str | None = None
    flat: float = 0.0
    hdri: str | None = None
    pinch: float = 0.0
    tool: float = 0.0
    touching: float = 0.0
    worn: float = 0.0


def check_settings(settings: GenerateSettings) -> None:
    """Raises UserError that names the setting, what was got and expected, or a folder without a picture."""
    limits = {"people": (1, _MOST), "clips": (1, 1000), "frames": (1, 16), "views": (2, MAX_VIEWS)}
    limits["size_px"] = (16, 1024)
    for name, (least, most) in limits.items():
        if not least <= getattr(settings, name) <= most:
            raise UserError(f"`{name}` is {getattr(settings, name)}; it must be from {least} to {most}.")
    if settings.pictured is not None and not 2 <= settings.pictured <= settings.views:
        raise UserError(f"`pictured` is {settings.pictured}; it must be from 2 to `views`, {settings.views}.")
    if settings.seed < 0 or not 1 <= settings.fps <= 1000:
        raise UserError(f"`seed` {settings.seed} must be at least 0, `fps` {settings.fps:g} from 1 to 1000.")
    held = {"flat": settings.flat, "pinch": settings.pinch, "tool": settings.tool}
    for name, share in {**held, "touching": settings.touching, "worn": settings.worn}.items():
        if not 0 <= share <= 1:
            raise UserError(f"`{name}` is {share:g}; it must be a share from 0 to 1.")
    if sum(held.values()) > 1 + 1e-9:
        raise UserError(
            f"`flat`, `pinch` and `tool` are {sum(held.values()):g} together; give shares of at most 1 in all."
        )
    shares = [*settings.grades.values()]
    if set(settings.grades) - set(GRADES) or not min(shares, default=-1) >= 0 or not 0 < sum(shares) < np.inf:
        raise UserError(f"`grades` is {settings.grades}; give shares, not all zero, of {', '.join(GRADES)}.")
    if settings.backgrounds is not None:
        images_in(Path(settings.backgrounds))
    if settings.hdri is not None:
        panoramas_in(Path(settings.hdri))


def generate(out: Path, settings: GenerateSettings, workers: int = 1) -> Generator[tuple[int, int], None, None]:
    """Write a crop cache; yields (shards done, shards in all) as it goes. Started again, it goes on where it stopped.

    Raises UserError for settings that cannot be, or where `out` holds a cache of other settings.
    """
    check_settings(settings)
    manifest = CacheManifest(
        size_px=settings.size_px,
        views=settings.views,
        margin=MARGIN,
        truth=True,
        source="simulated",
        settings=msgspec.to_builtins(settings),
    )
    if (out / "manifest.json").exists():
        before = read_manifest(out)
        if before != manifest:
            raise UserError(f"{out}: holds a cache of other settings ({before.settings}). Give a new directory.")
    write_manifest(out, manifest)
    total = -(-settings.people // _SHARD_PEOPLE)
    waiting = [index for index in range(total) if not shard_path(out, index).exists()]
    done = total - len(waiting)
    yield done, total
    if workers <= 1:
        for index in waiting:
            _write(out, settings, index)
            done += 1
            yield done, total
        return
    # A fork would copy the locks of the renderer's threads.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), begin) as pool:
        jobs = [pool.submit(partial(_write, out, settings), index) for index in waiting]
        try:
            for job in as_completed(jobs):
                job.result()
                done += 1
                yield done, total
        finally:
            pool.shutdown(cancel_futures=True)


def _write(out: Path, settings: GenerateSettings, index: int) -> None:
    people = range(index * _SHARD_PEOPLE, min((index + 1) * _SHARD_PEOPLE, settings.people))
    shards = [shard for person in people for shard in person_shards(settings, person)]
    if not shards:
        raise UserError(
            f"{out}: the detector finds no hand of the people {people.start} to {people.stop - 1} in two views."
        )
    write_shard(out, index, join(shards))


def person_shards(settings: GenerateSettings, person: int) -> list[Shard]:
    """The clips of the person of that number, one shard for each hand that two views see in a clip."""
    seed = person_seed(settings, person)
    random = np.random.default_rng([seed, 41])
    hands = _HANDS[random.choice(len(_HANDS), p=_HANDS_SHARES)]
    pictures = Path(settings.backgrounds) if settings.backgrounds else None
    # The person and the backgrounds take longest to make; the clips share them.
    rig = random_rig(seed, cameras=MAX_VIEWS, fps=settings.fps)
    settings_of_scene = SceneSettings(
        hands=hands,
        anywhere=bool(random.random() < 0.8),
        backgrounds=pictures,
        flat=settings.flat,
        pinch=settings.pinch,
        tool=settings.tool,
        touching=settings.touching,
        worn=settings.worn,
    )
    scene = random_scene(rig, seed, settings_of_scene)
    shards = []
    for clip in range(settings.clips):
        try:
            shards += _clip_shards(settings, scene, [seed, 42, clip])
        except UserError as error:
            log.info("clip %d of person %d is left out: %s", clip, person, error)
    return shards


def person_seed(settings: GenerateSettings, person: int) -> int:
    """Different for every split, seed and person."""
    return (settings.seed * _MOST + person) * len(SPLITS) + SPLITS.index(settings.split)


def _clip_shards(settings: GenerateSettings, scene: SimulatedScene, seed: list[int]) -> list[Shard]:
    random = np.random.default_rng(seed)
    names = sorted(settings.grades)
    shares = np.array([settings.grades[name] for name in names])
    grade = GRADES[names[random.choice(len(names), p=shares / shares.sum())]]
    rig = _some_cameras(random, settings)
    pictured = np.ones(settings.views, bool)
    if settings.pictured is not None:
        pictured[random.permutation(settings.views)[settings.pictured :]] = False
    backgrounds = [view.background for view in scene.views.values() if view.background is not None]
    random.shuffle(backgrounds)
    views = {
        camera_id: SceneView(_varied(random, background), random_sensor(random))
        for camera_id, background in zip(np.array(rig.camera_ids)[pictured].tolist(), backgrounds, strict=False)
    }
    scene = replace(scene, lighting=random_lighting(random), views=views)
    if settings.hdri is not None:
        scene = in_a_place(scene, rig, Path(settings.hdri), [*seed, 1])
    start_s = random.uniform(0, _LATEST_S)
    times_s = [start_s + frame / settings.fps for frame in range(settings.frames)]
    states = [scene.state(time_s) for time_s in times_s]
    poses = None if settings.split == "train" else [scene.hands(time_s) for time_s in times_s]
    return _render(rig, pictured, states, poses, settings, grade, seed)


@cache
def _model(side: Side) -> BuiltinHand:
    return BuiltinHand(side)


def _vertices(poses: list[PosedJoints], side: Side) -> np.ndarray:
    """(N, W, 3), world metres: without the forearm that the rendered hand may have, and a wrist that bends it."""
    return np.stack([_model(side).pose(pose.angles_rad, pose.T_world_hand, pose.shape)[1] for pose in poses])


def _some_cameras(random: np.random.Generator, settings: GenerateSettings) -> Rig:
    count = int(random.integers(settings.views, MAX_VIEWS + 1))
    layout = LAYOUTS[random.integers(len(LAYOUTS))]
    size_px = _SIZES[random.integers(len(_SIZES))]
    rig = random_rig(int(random.integers(2**62)), layout, count, *size_px, settings.fps)
    chosen = np.sort(random.choice(count, settings.views, replace=False))
    return replace(rig, cameras=tuple(rig.cameras[index] for index in chosen))


def _varied(random: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """The picture mirrored, upside down or with its colours exchanged, or as it is."""
    upside_down, mirrored = random.choice([1, -1]) < 0, random.choice([1, -1]) < 0
    if upside_down or mirrored:
        picture = cv2.flip(picture, {(True, False): 0, (False, True): 1, (True, True): -1}[upside_down, mirrored])
    channels = cv2.split(picture)
    return cv2.merge([channels[channel] for channel in random.permutation(3)])


def _render(
    rig: Rig,
    pictured: np.ndarray,
    states: list[SceneState],
    poses: list[dict[str, PosedJoints]] | None,
    settings: GenerateSettings,
    grade: NoiseGrade,
    seed: list[int],
) -> list[Shard]:
    truth = [[hands_in_image(camera, state) for camera in rig.cameras] for state in states]
    frames = np.arange(len(states))
    planned = []
    for hand, posed in enumerate(states[0].hands):
        keypoints_px = np.array([[view[hand].keypoints_px for view in row] for row in truth])
        visible = np.array([[view[hand].visible for view in row] for row in truth])
        sequence = _labelled(rig, posed.side, frames, settings.fps, keypoints_px, visible, grade, seed)
        planned.append((hand, sequence, visible, *crops_of(sequence, settings.size_px, settings.upright)))
    images: list[list[np.ndarray]] = [[] for _ in planned]
    for frame, state in enumerate(states):
        for place, (_, _, _, crops, _) in enumerate(planned):
            for camera, crop, wanted in zip(rig.cameras, crops[frame], pictured, strict=True):
                if crop is not None and wanted:
                    images[place].append(np.ascontiguousarray(render_crop(crop, camera, state)[..., ::-1]))
    shards = []
    for (hand, sequence, visible, crops, targets_m), pictures in zip(planned, images, strict=True):
        joints_m = np.stack([state.hands[hand].joints_m for state in states])
        side = states[0].hands[hand].side
        vertices_m = None if poses is None else _vertices([each[side] for each in poses], side)
        shard = to_shard(sequence, crops, targets_m, pictures, joints_m, visible, pictured, vertices_m)
        if shard is not None:
            shards.append(shard)
    return shards


def _labelled(
    rig: Rig,
    side: Side,
    frames: np.ndarray,
    fps: float,
    keypoints_px: np.ndarray,
    visible: np.ndarray,
    grade: NoiseGrade,
    seed: list[int],
) -> HandSequence:
    """The hand of true keypoints (N, V, 21, 2) as a detector labels it where its middle lies in the image."""
    labels_px = np.zeros_like(keypoints_px)
    confidence = np.zeros(visible.shape)
    for view, camera in enumerate(rig.cameras):
        limit = (camera.camera.width, camera.camera.height)
        with np.errstate(invalid="ignore"):
            middle = keypoints_px[:, view].mean(1)
            inside = ((middle >= 0) & (middle < limit)).all(1)
        found = detect(keypoints_px[:, view], visible[:, view], frames, [*seed, view, int(side == "left")], grade)
        labels_px[:, view] = found.keypoints_px
        confidence[:, view] = found.confidence * (found.found & inside)[:, None]
    times_ns = np.rint(frames / fps * 1e9).astype(np.int64)
    return HandSequence(
        cameras=rig.cameras, right=side == "right", time_ns=times_ns, keypoints_px=labels_px, confidence=confidence
    )

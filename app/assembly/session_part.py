"""The part of a recorded session that is to be played."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from app.assembly.recorded_sets import recorded_phases_of, recorded_rig
from calibration.camera_source import RecordedSource
from calibration.errors import UserError
from calibration.played_frames import played_frames
from calibration.published_sets import read_published_sets
from calibration.rig import Rig
from calibration.session import Session


def cameras_named(text: str) -> tuple[str, ...]:
    """The cameras of `--cameras A,B`: as in a session's tables, one with a comma in its name stands in quotes."""
    try:
        names = next(csv.reader([text], skipinitialspace=True))
    except csv.Error:  # of more than one line
        names = [text]
    return tuple(name.strip() for name in names)


@dataclass(frozen=True, kw_only=True)
class SessionPart:
    """From and to are seconds from the session's first frame, to its end at most; `every` takes one set of so many;
    `cameras` some of its cameras; `published` only the frames of the sets that the live run estimated when it was
    recorded."""

    from_s: float | None = None
    to_s: float | None = None
    every: int = 1
    cameras: tuple[str, ...] = ()
    published: bool = False

    def check(self, session: Session) -> None:
        """Raises UserError where the session has no such part."""
        known = session.camera_ids
        for camera_id in self.cameras:
            if camera_id not in known:
                named = ", ".join(f'"{name}"' if "," in name else name for name in known)
                quotes = " One with a comma is to be in such quotes." if '"' in named else ""
                raise UserError(f"`--cameras`: the session has no camera `{camera_id}`; it has {named}.{quotes}")
        if self.cameras and len(set(self.cameras)) < 2:
            raise UserError("`--cameras`: two cameras at least, since hands are triangulated.")
        if self.every < 1:
            raise UserError(f"`--every {self.every}`: at least 1.")
        begin_s, end_s = self.from_s or 0.0, self.to_s
        length_s = self._length_s(session)
        if not 0 <= begin_s <= length_s or (end_s is not None and not begin_s < end_s < math.inf):
            until = "" if end_s is None else f", `--to {end_s:g}`"
            raise UserError(
                f"`--from {begin_s:g}`{until}: the session has {length_s:.1f} s. Give seconds from its start, the "
                "first before the second."
            )
        if self.published:
            read_published_sets(session.path)

    def rig(self, session: Session) -> Rig:
        """As `recorded_rig`, with the part's cameras and times."""
        rig = recorded_rig(session)
        first_ns = self._first_ns(session)
        begin_ns = None if self.from_s is None else first_ns + round(self.from_s * 1e9)
        end_ns = None
        if self.to_s is not None and self.to_s <= self._length_s(session):
            end_ns = first_ns + round(self.to_s * 1e9)
        cameras = []
        for camera in rig.cameras:
            if self.cameras and camera.camera_id not in self.cameras:
                continue
            source = camera.source
            assert isinstance(source, RecordedSource)
            source = RecordedSource(
                session=source.session,
                camera=source.camera,
                begin_ns=begin_ns,
                end_ns=end_ns,
                published=self.published,
            )
            cameras.append(replace(camera, source=source))
        return replace(rig, cameras=tuple(cameras))

    def phases_ns(self, session: Session, rig: Rig) -> Mapping[str, int] | None:
        """As `recorded_phases_of`: those of the whole session, whatever part of it is played."""
        played = {camera.camera_id: camera for camera in rig.cameras}
        whole = replace(rig, cameras=tuple(played.get(camera.camera_id, camera) for camera in session.rig.cameras))
        phases_ns = recorded_phases_of(session, whole)
        return phases_ns and {camera_id: phases_ns[camera_id] for camera_id in rig.camera_ids}

    def sets(self, session: Session, rig: Rig) -> int:
        """About how many will be played."""
        counts = []
        for camera in rig.cameras:
            times_ns = session.frame_times_ns(camera.camera_id)
            assert isinstance(camera.source, RecordedSource)
            counts.append(len(played_frames(camera.source, times_ns)))
        return -(-max(counts) // self.every)

    def _first_ns(self, session: Session) -> int:
        return min(int(session.frame_times_ns(camera_id)[0]) for camera_id in session.camera_ids)

    def _length_s(self, session: Session) -> float:
        last_ns = max(int(session.frame_times_ns(camera_id)[-1]) for camera_id in session.camera_ids)
        return (last_ns - self._first_ns(session)) / 1e9

"""Names of cameras: which can be one, in every file that is read or written, and which mean the same camera."""

import re
from collections.abc import Sequence

from calibration.errors import UserError

_LONGEST_ID = 32


def is_camera_id(name: str) -> bool:
    """Whether a camera can have this id: it names files, and stands in a line of text."""
    if not name.isprintable() or not 0 < len(name.encode()) <= _LONGEST_ID or name in (".", ".."):
        return False
    return name == name.strip() and not set(name) & set("/\\")


def check_camera_id(camera_id: str, place: str) -> None:
    """Raise UserError for what cannot be a camera's id; `place` is how errors call where it stands."""
    if not is_camera_id(camera_id):
        raise UserError(
            f"{place}: camera id {camera_id!r} cannot name a file. "
            f"Use up to {_LONGEST_ID} letters, digits, `_`, `-` and `.`; letters beyond English count twice or more."
        )


def camera_number(name: str) -> int | None:
    """The number in `cam_3`, `port_3`, `Camera_003_synchronized`, `name.camera3.timestamps`, `3`; None without one."""
    found = re.findall(r"(?:camera|cam|port)[_. -]*(\d+)|^(\d+)$", name, flags=re.IGNORECASE)
    return int("".join(found[-1])) if found else None


def match_cameras(named: Sequence[Sequence[str]], wanted: Sequence[str]) -> dict[str, int]:
    """Which of some cameras, each with its names, is meant by each of `wanted`: indices by wanted name.

    The first rule by which any is found holds for all: by the first name, by any name, by the number in a name. A name
    that two cameras have means none.
    """
    first = [{names[0]} for names in named]
    numbers = [{number} - {None} for number in (_first_number(names) for names in named)]
    for keys, key_of in ((first, str), ([set(names) for names in named], str), (numbers, camera_number)):
        having = {name: [index for index, keys_ in enumerate(keys) if key_of(name) in keys_] for name in wanted}
        found = {name: indices[0] for name, indices in having.items() if len(indices) == 1}
        if found and len(set(found.values())) == len(found):
            return found
    return {}


def _first_number(names: Sequence[str]) -> int | None:
    return next((number for name in names if (number := camera_number(name)) is not None), None)

"""Which frames a live run estimated together, as its recording has them in `sets.csv`: set, camera, time_ns."""

from dataclasses import dataclass
from pathlib import Path

from calibration.csv_line import csv_fields
from calibration.errors import UserError, reason_of
from calibration.found_files import read_found_text

SETS = "sets.csv"
"""Of a session that was recorded live: which frames were estimated together."""
SET_COLUMNS = ["set", "camera", "time_ns"]
_MOST = 2**62


@dataclass(frozen=True)
class PublishedSet:
    """`times_ns`: of each camera's frame in the set, as in `frames.csv`."""

    index: int
    times_ns: dict[str, int]


def read_published_sets(session: Path) -> list[PublishedSet]:
    """In the order in which they were estimated. Raises UserError where there are none, or they cannot be read."""
    path = session / SETS
    try:
        text = read_found_text(path)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file. Only what `usthand live --record` made has it; replay without `--as-published`."
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({reason_of(error)}).") from None
    lines = text[: text.rfind("\n") + 1].splitlines()
    if lines[:1] != [",".join(SET_COLUMNS)]:
        raise UserError(f"{path}: the first line must be `{','.join(SET_COLUMNS)}`.")
    sets: dict[int, dict[str, int]] = {}
    for number, line in enumerate(lines[1:], start=2):
        try:
            index, camera_id, time_ns = csv_fields(line)
            if max(abs(int(index)), abs(int(time_ns))) > _MOST:
                raise ValueError
        except ValueError:
            raise UserError(f"{path}, line {number}: `{line[:100]}` is no set, camera and time.") from None
        sets.setdefault(int(index), {})[camera_id] = int(time_ns)
    return [PublishedSet(index, times_ns) for index, times_ns in sets.items()]

"""Several files of one folder that belong together: all are written, or none."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from calibration.found_files import remove_folder


@contextmanager
def written_together(folder: Path, last: str = "") -> Iterator[Path]:
    """Gives an empty, hidden folder to write files in, which become files of `folder` when all are there; `last` does
    so after the others.

    Until then what was in `folder` stays, and where the block fails for ever: then nothing else is left. Raises
    OSError, which names the file in its place, as on a full disk.
    """
    made, partial = not folder.exists(), folder / f".{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_folder(partial)
        partial.mkdir()
        yield partial
        for file in sorted(partial.iterdir(), key=lambda file: file.name == last):
            file.replace(folder / file.name)
        made = False
    except OSError as error:
        file = Path(error.filename or folder)
        place = folder / file.relative_to(partial) if file.is_relative_to(partial) else file
        raise OSError(error.errno, error.strerror, str(place)) from None
    finally:
        remove_folder(partial)
        if made:
            with suppress(OSError):
                folder.rmdir()

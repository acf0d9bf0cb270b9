"""Where a run's folder is made: a socket's path below it has to fit into what the kernel takes."""

from pathlib import Path

import pytest

from app.run import settings
from app.run.settings import socket_base


@pytest.mark.parametrize(("name", "fits"), [("laboratory", True), ("лаборатори", False)])
def test_the_name_of_a_folder_with_sockets_is_measured_in_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fits: bool
) -> None:
    base = tmp_path / name
    base.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    monkeypatch.setattr(settings, "_LONGEST_BASE", len(str(base)))
    assert (socket_base() == base) == fits

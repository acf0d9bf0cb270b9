"""`usthand cache` shows what is kept and removes it, but for what is being made."""

import os
from pathlib import Path

import pytest

from app.cli import main
from calibration.cached_folder import user_cache
from tests.support.live_run import last_json


def test_the_cache_is_shown_and_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_bytes(os.urandom(100_000))
    for name in ("engine-1", f".making-demo-1-{os.getpid()}", ".making-demo-1-999999999"):
        (user_cache() / name).mkdir(parents=True)
    (user_cache() / "engine-1" / "stage1.onnx").write_bytes(os.urandom(300_000))
    (user_cache() / "link-1").symlink_to(kept)
    assert main(["cache", "--json"]) == 0
    output = capsys.readouterr().out
    assert "0.3 MB  engine-1  (an exported checkpoint)" in output
    assert 300_000 <= last_json(output)["bytes"] < 400_000
    assert main(["cache", "--empty", "--json"]) == 0
    output = capsys.readouterr().out
    assert [path.name for path in user_cache().iterdir()] == [f".making-demo-1-{os.getpid()}"]
    assert "stays" in output and (kept / "file").exists()

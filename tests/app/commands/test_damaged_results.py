"""What a process of a command wrote, and something else spoiled before the command reads it: one line, exit code 2."""

from pathlib import Path

import pytest

from app.cli import main


@pytest.mark.parametrize("content", [None, b"{", b"[]", b"{}", b'{"step": "six"}', b'{"step": "\xff"}'])
def test_the_last_step_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, content: bytes | None
) -> None:
    def train(*_: object) -> int:
        if content is not None:
            (tmp_path / "last.json").write_bytes(content)
        return 0

    monkeypatch.setattr("app.commands.train.cache_of", lambda *_: None)
    monkeypatch.setattr("app.commands.train.run_program", train)
    (tmp_path / "cache").mkdir()
    config = tmp_path / "run.yaml"
    config.write_text("output: out\ndata: {train: [cache]}\nnetwork: {recipe: tiny, crop_px: 32}\n")
    assert main(["train", str(config), "--output", str(tmp_path), "--json"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"usthand: {tmp_path / 'last.json'}: ") and said.count("\n") == 1


@pytest.mark.parametrize("content", [None, b"<p>\n\xff</p>"])
def test_the_report_of_an_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, content: bytes | None
) -> None:
    report = tmp_path / "report.html"

    def evaluate(*_: object, stdout) -> int:
        stdout.write(b"{}\n")
        if content is not None:
            report.write_bytes(content)
        return 0

    monkeypatch.setattr("app.commands.evaluate._what", lambda _: (True, True))
    monkeypatch.setattr("app.commands.evaluate.run_program", evaluate)
    monkeypatch.setattr("app.commands.evaluate.footage_figures", lambda _: {"real": {}})
    monkeypatch.setattr("app.commands.evaluate.text_tables", lambda _: "")
    assert main(["evaluate", "--data", str(tmp_path), "--report", str(report)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"usthand: `--report {report}`: ") and said.count("\n") == 1
    assert content is None or "line 2 is not UTF-8" in said

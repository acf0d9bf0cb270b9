"""What the programs that make networks take for a number."""

import sys
from types import ModuleType

import pytest

from models.data import pack_crops
from models.training import adapt, heatmaps, landmarks, presence, put_landmarks

_PAIRS = ["in", "out", "--simulated", "a", "--real", "b"]


@pytest.mark.parametrize("number", ["nan", "inf", "1e999", "half"])
@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        (adapt, ["cache", "out", "--original", "a", "--learning-rate"]),
        (adapt, ["cache", "out", "--original", "a", "--hold-share"]),
        (adapt, ["cache", "out", "--original", "a", "--hold-features"]),
        (adapt, ["cache", "out", "--original", "a", "--shares", "0.5"]),
        (heatmaps, [*_PAIRS, "--held-out", "c", "--learning-rate"]),
        (landmarks, [*_PAIRS, "--learning-rate"]),
        (landmarks, [*_PAIRS, "--share"]),
        (landmarks, [*_PAIRS, "--real-part"]),
        (presence, ["in", "out", "--train", "a", "--held-out", "b", "--held"]),
        (put_landmarks, ["checkpoint", "weights"]),
        (pack_crops, ["out", "cache", "--mib"]),
    ],
)
def test_what_is_no_finite_number_is_refused(
    program: ModuleType, arguments: list[str], number: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    more = ["out"] if program is put_landmarks else []
    monkeypatch.setattr(sys, "argv", ["program", *arguments, number, *more])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 2
    assert f"{number} is not a finite number" in capsys.readouterr().err

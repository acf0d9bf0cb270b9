"""Windows rendered as they are asked for, against those of a crop cache of the same settings."""

import pytest
import torch
from torch.utils.data import DataLoader

from calibration.errors import UserError
from models.data.generate import GenerateSettings, generate
from models.data.simulated_windows import SimulatedWindows
from models.data.windows import WindowDataset

SETTINGS = GenerateSettings(people=2, clips=1, frames=6, views=3, size_px=64, seed=5)


def key(item: dict[str, torch.Tensor]) -> tuple:
    return tuple(item["labels_px"].flatten().tolist())


def test_they_are_those_of_a_cache_and_the_same_every_time(tmp_path):
    list(generate(tmp_path / "cache", SETTINGS))
    cached = WindowDataset([tmp_path / "cache"], 48, views=3, truth=True)
    expected = {key(cached[number]): cached[number] for number in range(len(cached))}
    once, again = (list(SimulatedWindows(SETTINGS, 48, truth=True)) for _ in range(2))
    assert len(once) == len(expected) > 1
    for first, second in zip(once, again, strict=True):
        same = expected[key(first)]
        assert all(torch.equal(first[name], same[name]) and torch.equal(first[name], second[name]) for name in same)


def test_workers_share_the_people_and_the_truth_comes_only_where_it_is_asked_for():
    alone = list(SimulatedWindows(SETTINGS, 48))
    shared = list(DataLoader(SimulatedWindows(SETTINGS, 48), batch_size=None, num_workers=2))
    assert sorted(map(key, shared)) == sorted(map(key, alone))
    assert all("joints_m" not in item and "visible" not in item for item in shared)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="views"):
        SimulatedWindows(GenerateSettings(views=1))

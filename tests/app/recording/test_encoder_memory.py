"""What a take's encoder took, the next one does not take again."""

import gc
import os
from fractions import Fraction
from pathlib import Path

import numpy as np

from app.bench.soak.processes import holding_of
from app.recording.packers import EncodingPacker
from app.recording.video_encoder import VideoEncoder
from app.run.record_settings import RecordSettings
from app.transport.ring import RingReader

SIZE = (1280, 720)


def memory_mb() -> float:
    holding = holding_of(os.getpid())
    assert holding is not None
    return holding.memory_mb


def test_encoders_give_their_memory_back(tmp_path: Path) -> None:
    settings = RecordSettings(folder=str(tmp_path))
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    packer = EncodingPacker(settings, SIZE, Fraction(30), RingReader())
    gc.disable()  # it comes round after thousands of objects, and a take has few
    try:
        for take in range(8):
            encoder = packer._encoder
            assert isinstance(encoder, VideoEncoder)
            list(encoder.encode(image, take))
            packer._fresh = False
            if take % 2:
                assert packer.finish() is not None
            packer.begin()
            if take == 3:
                begun_mb = memory_mb()
        assert memory_mb() - begun_mb < 15, "of one encoder that stays it would be four times twenty"
    finally:
        gc.enable()

"""OpenVINO's CPU plugin, which gives its thread another stack for signals."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openvino")

WEIGHTS = Path(__file__).resolve().parents[2] / "models/weights/mediapipe/hand_landmark.onnx"

NETWORKS_COME_AND_GO = f"""
import gc, os, signal
from pathlib import Path
from deploy.engines.devices import has_bf16
from deploy.engines.openvino_images import OpenvinoImages
from deploy.engines.openvino_network import OpenvinoNetwork

signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
path = Path({str(WEIGHTS)!r})
has_bf16()
first = OpenvinoImages(path, path.read_bytes(), (224, 224, 3))
second = OpenvinoNetwork(path.read_bytes())
second.prepare({{"crops_rgb": (1, 224, 224, 3)}})
del first
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_signal_is_heard_after_networks_have_gone_in_the_order_in_which_they_came() -> None:
    ended = subprocess.run([sys.executable, "-X", "faulthandler", "-c", NETWORKS_COME_AND_GO], capture_output=True)
    assert (ended.returncode, ended.stdout, ended.stderr[-500:]) == (0, b"heard\n", b"")

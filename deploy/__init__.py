"""Engines that run the networks."""

import os

# ONNX Runtime sends what it runs to its maker, and keeps a device id for that, unless told not to before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

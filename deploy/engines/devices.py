"""What this machine has for the runtimes."""

from pathlib import Path


def has_cuda() -> bool:
    """Whether ONNX Runtime's package is the one for CUDA, and the kernel shows an NVIDIA GPU."""
    import onnxruntime

    return has_gpu_device() and "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def has_bf16() -> bool:
    """Whether OpenVINO finds a processor that calculates in bfloat16."""
    from deploy.engines.openvino_core import openvino_core

    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def has_gpu_device() -> bool:
    """Whether the kernel shows an NVIDIA GPU, on WSL any GPU; says it without loading CUDA."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()

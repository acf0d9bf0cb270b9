"""What ONNX Runtime and OpenVINO find on this machine."""


def has_cuda() -> bool:
    """Whether ONNX Runtime's package can use an NVIDIA GPU."""
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def has_bf16() -> bool:
    """Whether OpenVINO finds a processor that calculates in bfloat16."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

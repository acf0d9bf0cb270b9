"""The process's one OpenVINO, imported without its tools for converting models: 8 MB that nothing here needs."""

import functools
import sys

_TOOLS = "openvino.tools.ovc"

# The package does without them where they cannot be imported, which None says.
sys.modules.setdefault(_TOOLS, None)  # pyright: ignore[reportArgumentType, reportCallIssue]
import openvino  # noqa: E402

if sys.modules[_TOOLS] is None:
    del sys.modules[_TOOLS]


@functools.cache
def openvino_core() -> openvino.Core:
    """It is never released.

    Its CPU plugin gives the thread that loads it another stack for signals, and puts back the one before when it is
    released. Of two that are released in the order in which they were made, the second puts back what the first had
    freed, and the next signal, such as Ctrl-C, ends the process with a segmentation fault.
    """
    return openvino.Core()

"""The process's one OpenVINO."""

import functools

import openvino


@functools.cache
def openvino_core() -> openvino.Core:
    """It is never released.

    Its CPU plugin gives the thread that loads it another stack for signals, and puts back the one before when it is
    released. Of two that are released in the order in which they were made, the second puts back what the first had
    freed, and the next signal, such as Ctrl-C, ends the process with a segmentation fault.
    """
    return openvino.Core()

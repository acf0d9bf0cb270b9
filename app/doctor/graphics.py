"""GPU, driver, display and OpenGL."""

import os
import re

from app.doctor.finding import Finding, Findings, Machine, run_python
from app.doctor.limits import DoctorLimits
from app.doctor.packages import LIBRARIES

_NVIDIA, _DISPLAY_CLASS = "0x10de", "0x03"
_LOAD = """
import ctypes, json, sys
missing = {}
for name in sys.argv[1:]:
    try:
        ctypes.CDLL(name)
    except OSError as error:
        missing[name] = str(error)
print(json.dumps(missing))
"""
_OPEN_DISPLAY = """
import ctypes, json
x11 = ctypes.CDLL("libX11.so.6")
x11.XOpenDisplay.restype = ctypes.c_void_p
print(json.dumps(bool(x11.XOpenDisplay(None))))
"""
# A context without a window; numbers are those of <EGL/egl.h> and <GL/gl.h>.
_CONTEXT = """
import ctypes, json, os
os.environ["EGL_PLATFORM"] = "surfaceless"
pointer, egl, gl = ctypes.c_void_p, ctypes.CDLL("libEGL.so.1"), ctypes.CDLL("libGL.so.1")
egl.eglGetDisplay.restype = egl.eglCreateContext.restype = pointer
gl.glGetString.restype = ctypes.c_char_p
display = pointer(egl.eglGetDisplay(None))
begun = egl.eglInitialize(display, None, None) and egl.eglBindAPI(0x30A2)
config, count = pointer(), ctypes.c_int()
wanted = (ctypes.c_int * 3)(0x3040, 0x0008, 0x3038)
begun = begun and egl.eglChooseConfig(display, wanted, ctypes.byref(config), 1, ctypes.byref(count))
context = pointer(egl.eglCreateContext(display, config, None, None)) if begun else None
made = context and egl.eglMakeCurrent(display, None, None, context)
print(json.dumps([(gl.glGetString(each) or b"").decode() for each in (0x1F01, 0x1F02)] if made else None))
"""


def check_gpu(machine: Machine, limits: DoctorLimits) -> Findings:
    said = machine.read("proc/driver/nvidia/version")
    match = re.search(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", said)
    if match:
        version = tuple(int(part) for part in match[1].split("."))
        oldest = ".".join(f"{part:02d}" if place == 2 else str(part) for place, part in enumerate(limits.driver))
        if version < limits.driver:
            text = f"NVIDIA driver {match[1]}; CUDA 13 needs {oldest} or newer: the networks run on the CPU"
            yield Finding("gpu", "warning", text, "sudo apt-get install nvidia-driver   (or of nvidia.com/drivers)")
        elif not machine.find("dev/nvidia[0-9]*"):
            text = f"NVIDIA driver {match[1]}, but no /dev/nvidia0 (in a container: start it with --gpus all)"
            yield Finding("gpu", "warning", text, "sudo nvidia-modprobe -u -c 0")
        else:
            yield Finding("gpu", "ok", f"NVIDIA driver {match[1]}")
    elif _nvidia_on_pci(machine):
        yield Finding("gpu", "warning", "an NVIDIA GPU without its driver", "sudo apt-get install nvidia-driver")
    else:
        yield Finding("gpu", "ok", "no NVIDIA GPU: the networks run on the CPU")


def _nvidia_on_pci(machine: Machine) -> bool:
    devices = [str(path.relative_to(machine.root)) for path in machine.find("sys/bus/pci/devices/*")]
    return any(
        machine.read(f"{device}/vendor") == _NVIDIA and machine.read(f"{device}/class").startswith(_DISPLAY_CLASS)
        for device in devices
    )


def check_display() -> Findings:
    display = os.environ.get("DISPLAY")
    render = "usthand live RIG --headless hands.mp4   (or --no-viewer)"
    if not display:
        wayland = "only Wayland, which needs XWayland" if os.environ.get("WAYLAND_DISPLAY") else "DISPLAY is not set"
        yield Finding("display", "warning", f"no screen for the viewer: {wayland}", render)
        return
    answers, error = run_python(_OPEN_DISPLAY, timeout_s=10.0)
    if answers:
        yield Finding("display", "ok", f"{display} answers")
    else:
        text = f"the display {display} does not answer{': ' + error if error else ''}"
        yield Finding("display", "problem", text, "export DISPLAY=:0   (over SSH: ssh -X; or --headless hands.mp4)")


def check_opengl() -> Findings:
    missing, error = run_python(_LOAD, *LIBRARIES)
    if missing is None:
        yield Finding("opengl", "problem", f"the libraries of the system could not be tried: {error}")
        return
    for name, text in missing.items():
        yield Finding("opengl", "problem", f"{name}: {text}", f"sudo apt-get install {LIBRARIES[name]}")
    if {"libGL.so.1", "libEGL.so.1"} & set(missing):
        return
    renderer, error = run_python(_CONTEXT)
    if renderer:
        slow = " (in software: the viewer takes CPU from the tracking)" if "llvmpipe" in renderer[0] else ""
        yield Finding("opengl", "ok", f"{renderer[0]}, {renderer[1]}{slow}")
    else:
        text = f"no OpenGL context: {error or 'no driver gives one'}"
        yield Finding("opengl", "problem", text, "sudo apt-get install libegl1 libgl1-mesa-dri")

"""The V4L2 cameras: who may open them, who has them, what they change by themselves, what their bus carries."""

import os
from collections import defaultdict
from pathlib import Path

from app.devices.usb import UsbPlace, usb_place
from app.devices.v4l2 import VideoDevice, is_in_use, list_video_devices, read_controls
from app.doctor.finding import Finding, Findings, Machine
from app.doctor.limits import DoctorLimits
from app.doctor.needs import CameraNeeds, RigNeeds
from app.doctor.system import holder_of

_DENIED = os.strerror(13)
# What each control is where the camera leaves its pictures alone.
_FIXED = {"auto_exposure": 1, "exposure_dynamic_framerate": 0, "focus_automatic_continuous": 0}
_SAID = {
    "auto_exposure": "exposure is automatic",
    "exposure_dynamic_framerate": "the rate may fall in dim light",
    "focus_automatic_continuous": "focus is automatic, which spoils the calibration",
}


def check_cameras(machine: Machine, needs: RigNeeds | None) -> Findings:
    devices = list_video_devices(machine.path("dev"))
    asked = {os.path.realpath(_node_of(each, machine)): each for each in needs.cameras} if needs else {}
    if not devices:
        local = [each.camera_id for each in asked.values() if each.kind == "usb"]
        yield Finding(
            "cameras",
            "problem" if local else "ok",
            "no V4L2 camera under /dev" + (f", and the rig asks for {', '.join(local)}" if local else ""),
            "usthand cameras   (in a container: docker run --device /dev/video0)" if local else "",
        )
        return
    found = {os.path.realpath(device.node) for device in devices}
    for node, each in asked.items():
        if each.kind == "usb" and node not in found:
            text = f"{each.camera_id}: there is no {each.device}"
            yield Finding("cameras", "problem", text, "usthand cameras   (lists what is attached)")
    for device in devices:
        need = asked.get(os.path.realpath(device.node))
        if device.problem:
            yield _cannot_be_asked(device)
        elif need is not None or needs is None:
            yield from _check_device(machine, device, need)


def _node_of(camera: CameraNeeds, machine: Machine) -> str:
    name = f"/dev/video{camera.device}" if camera.device.isdigit() else camera.device
    return str(machine.path(name)) if name.startswith("/dev/") else name


def _cannot_be_asked(device: VideoDevice) -> Finding:
    if device.problem == _DENIED:
        text = f"{device.node}: you may not open it ({device.problem})"
        return Finding("cameras", "problem", text, "sudo usermod -aG video $USER   (then log in again)")
    if "busy" in device.problem.lower():
        return Finding("cameras", "problem", f"{device.node}: in use", f"sudo fuser -v {device.node}   (end it)")
    return Finding("cameras", "warning", f"{device.node}: cannot be asked ({device.problem})", "usthand cameras")


def _check_device(machine: Machine, device: VideoDevice, need: CameraNeeds | None) -> Findings:
    title = f"{need.camera_id}, {device.node}" if need else f"{device.node}, {device.name}"
    try:
        busy = is_in_use(device.node)
        controls = read_controls(device.node)
    except OSError as error:
        yield Finding("cameras", "warning", f"{title}: cannot be asked ({error.strerror})", "usthand cameras --probe")
        return
    if busy:
        holder = holder_of(machine, {os.path.realpath(device.node)})
        text = f"{title}: in use" + (f" by {holder}" if holder else " by another program")
        yield Finding("cameras", "problem", text, f"sudo fuser -v {device.node}   (end that program)")
    else:
        yield from _check_mode(title, device, need)
    moving = {name: value for name, value in controls.items() if name in _FIXED and value != _FIXED[name]}
    if need is not None and need.locked:
        moving.pop("auto_exposure", None)  # set when the camera is opened
    if moving:
        wanted = ",".join(f"{name}={_FIXED[name]}" for name in moving)
        text = f"{title}: {', '.join(_SAID[name] for name in moving)}"
        yield Finding("cameras", "warning", text, f"v4l2-ctl -d {device.node} -c {wanted}")
    elif controls:
        yield Finding("cameras", "ok", f"{title}: exposure and focus are fixed, as far as it has such controls")


def _check_mode(title: str, device: VideoDevice, need: CameraNeeds | None) -> Findings:
    if need is None:
        sizes = {f"{mode.fourcc} {mode.width}x{mode.height}" for mode in device.modes}
        best = max(device.modes, key=lambda mode: mode.width * mode.height, default=None)
        largest = f", up to {best.width}x{best.height}" if best else ""
        yield Finding("cameras", "ok", f"{title}: {len(sizes)} modes{largest}")
        return
    fitting = [mode for mode in device.modes if mode.has_size(need.width, need.height)]
    if need.fourcc is not None:
        fitting = [mode for mode in fitting if mode.fourcc.upper() == need.fourcc.upper()]
    # Of a range of sizes the rates are those of the largest.
    rates = [fps for mode in fitting for fps in mode.fps if mode.least is None]
    asked = [need.fourcc, f"{need.width}x{need.height}", need.fps and f"at {need.fps:g} frames/s"]
    wanted = " ".join(filter(None, asked))
    if not fitting or (need.fps is not None and rates and max(rates) < need.fps * 0.99):
        has = f"; the fastest of this size has {max(rates):g}" if rates else ""
        yield Finding("cameras", "problem", f"{title}: it has no {wanted}{has}", "usthand cameras   (lists its modes)")
    else:
        yield Finding("cameras", "ok", f"{title}: free, and has {wanted}")


def check_usb(machine: Machine, limits: DoctorLimits, needs: RigNeeds | None) -> Findings:
    """The cameras of each bus, against its rate: those of the rig, without one all that are attached."""
    places: dict[str, list[tuple[CameraNeeds, UsbPlace]]] = defaultdict(list)
    for each in _on_usb(machine, needs):
        node = os.path.realpath(_node_of(each, machine))
        place = usb_place(node, machine.path("sys"))
        if place is not None:
            places[place.bus].append((each, place))
    for bus, cameras in sorted(places.items()):
        yield _judge_bus(bus, cameras, limits)
        for each, place in cameras:
            if place.device_mbit < 480:
                text = f"{each.camera_id} is connected with {place.device_mbit:g} Mbit/s only"
                yield Finding("usb", "warning", text, "lsusb -t   (another port or cable, and no long extension)")


def _on_usb(machine: Machine, needs: RigNeeds | None) -> list[CameraNeeds]:
    if needs is not None:
        return [each for each in needs.cameras if each.kind == "usb"]
    nodes = [device.node for device in list_video_devices(machine.path("dev"))]
    return [CameraNeeds(camera_id=Path(node).name, device=node, width=1280, height=720) for node in nodes]


def _judge_bus(bus: str, cameras: list[tuple[CameraNeeds, UsbPlace]], limits: DoctorLimits) -> Finding:
    mbit = cameras[0][1].bus_mbit
    carries = mbit / 8 * limits.usb_share
    sent = sum(each.sent_mbyte(limits) for each, _ in cameras)
    names = ", ".join(each.camera_id for each, _ in cameras)
    told = f"{bus} ({mbit:g} Mbit/s): {names} send up to {sent:.0f} of {carries:.0f} MB/s"
    elsewhere = "lsusb -t   (move cameras to another controller, such as a PCIe card with one for each port; or MJPG)"
    if sent > carries:
        return Finding("usb", "problem", told, elsewhere)
    if mbit <= 480 and len(cameras) > limits.usb2_cameras:
        text = f"{told}, but most webcams reserve 24.6 each: more than {limits.usb2_cameras} may not start together"
        return Finding("usb", "warning", text, elsewhere)
    return Finding("usb", "ok", told)

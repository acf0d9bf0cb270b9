"""A camera of your own: its frames go through a grabber and shared memory, and come out as synchronised frame sets."""

import time
from threading import Thread

from app.assembly.intake import Intake
from app.capture.grabber import Grabber, LocalOutput
from app.run.process import stop
from app.run.settings import RunSettings, run_folder
from app.sources.source import Mode, Stamp
from models.simulation.simulated_rig import ring_rig


class Wall:  # its methods: app/sources/source.py; to have `usthand live` open it: docs/architecture.md
    def open(self):
        return Mode(width=640, height=480, fps=30, description="a wall")

    def grab(self, timeout_s):
        self.number = time.monotonic_ns() // 33_333_333 + 1
        time.sleep(max(0, (due_ns := self.number * 33_333_333) - time.monotonic_ns()) / 1e9)
        return Stamp(sequence=self.number, capture_time_ns=due_ns, grab_time_ns=time.monotonic_ns())

    def retrieve(self, out):
        out[:] = self.number % 256

    def close(self): ...


with run_folder(ring_rig(2), RunSettings(estimator="none")) as folder:
    rig, settings = folder.read()
    for name in rig.camera_ids:
        Thread(target=Grabber(name, Wall(), LocalOutput(folder.frames_address(name))).run).start()
    intake = Intake(rig, settings, folder)
    intake.start()
    while (frame_set := intake.take(timeout_s=10.0)) and frame_set.index < 30:
        brightness = [int(frame.pixels[0, 0, 0]) for frame in frame_set.frames.values()]
        print(f"set {frame_set.index}: brightness {brightness}, {frame_set.spread_ns / 1e6:.1f} ms apart")
    stop.set()
    intake.stop()

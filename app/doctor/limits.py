"""From where on something is worth a line that is not `ok`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DoctorLimits:
    """`driver`: the oldest NVIDIA driver that runs CUDA 13, of the packages here (NVIDIA, CUDA 13 release notes).

    `shm_mb`: of /dev/shm, for the workers that load a network's training data; a container has 64 MB by itself.
    `usb_share`: of a bus's rate that cameras may take: USB 2.0 leaves isochronous transfers 80 % of a microframe
    (specification, 5.6.4). `usb2_cameras`: so many fit one USB 2 bus: most webcams reserve 3 packets of 1024 bytes in
    each of 8,000 microframes a second, 24.6 MB/s of the 48, whatever their pictures need.
    `mjpg_bytes`, `h264_bytes`, `ffv1_bytes`: of one pixel, estimated high, so that no line says ok where it is not.
    `disk_spare`: the disk has to be so many times as fast as what is recorded. `room_minutes`: of recording.
    `reserve_mb`: a recording ends while so many are free. `cache_gb`: what may lie in the user's cache. `clock_ms`: how
    far a clock may be from its server, or a machine's date from another's. `clock_error_ms`: how well another machine's
    clock has to be known: at 1 m/s a hand moves 5 mm in 5 ms. `clock_drift`, in millionths: of a quartz 20, of two 40.
    `rate`: of the rate that is asked for, what a camera has to give. `jitter`: of the period, how far its frames may
    lie from even times. `gaps`: of its frames, how many may be missing.
    """

    driver: tuple[int, ...] = (580, 65, 6)
    shm_mb: int = 512
    usb_share: float = 0.8
    usb2_cameras: int = 2
    mjpg_bytes: float = 0.25
    h264_bytes: float = 0.15
    ffv1_bytes: float = 1.5
    disk_spare: float = 2.0
    room_minutes: float = 10.0
    reserve_mb: int = 500
    cache_gb: float = 5.0
    clock_ms: float = 50.0
    clock_error_ms: float = 5.0
    clock_drift: float = 40.0
    rate: float = 0.95
    jitter: float = 0.25
    gaps: float = 0.01

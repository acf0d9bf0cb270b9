# docker build -t usthand .
# docker run --rm usthand replay SESSION ...
# With a window:  docker run --rm -e DISPLAY -v /tmp/.X11-unix:/tmp/.X11-unix usthand demo
# With cameras:   add --device /dev/video0 (USB) or --network host (GigE)
# NVIDIA:         docker build --build-arg EXTRAS=gpu -t usthand-gpu . && docker run --rm --gpus all usthand-gpu ...
FROM python:3.11-slim-bookworm

ARG EXTRAS=cpu

RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        libusb-1.0-0 libgl1 libegl1 libgomp1 libx11-6 libglib2.0-0 libgl1-mesa-dri \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /usthand
COPY . .
RUN pip install --no-cache-dir -c constraints.txt ".[${EXTRAS}]"

ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics

RUN useradd --create-home --groups video usthand
USER usthand
WORKDIR /home/usthand
ENTRYPOINT ["usthand"]
CMD ["--help"]

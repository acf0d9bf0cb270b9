# docker build -t usthand .                              the application, networks on the CPU
# docker build -t usthand:gpu --target gpu .             with ONNX Runtime on CUDA and TensorRT; needs NVIDIA's container toolkit
# docker build -t usthand:dev --target dev .             with everything that the tests need
# docker build -t usthand --build-arg EXTRAS=cpu,osc,c3d .   with further extras of pyproject.toml
# docker run --rm usthand demo --no-viewer --seconds 10
# How to run it with cameras, a window, a read-only root, or as worker and remote grabbers: docs/container.md
#
# The steps are those of deploy/setup.sh, which `make` takes as well. What pip needs to install stays in the stages
# that are named build-...; an image has the virtual environment alone.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS system
COPY deploy/setup.sh /src/deploy/setup.sh
RUN /src/deploy/setup.sh system runtime \
    && apt-get clean \
    && rm -rf /src /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 --groups video usthand
ENV PATH=/opt/usthand/bin:$PATH \
    PYTHONUNBUFFERED=1

FROM system AS build-cpu
ARG EXTRAS=cpu
COPY . /src
RUN /src/deploy/setup.sh install /opt/usthand ${EXTRAS} \
    && /src/deploy/setup.sh slim /opt/usthand

FROM system AS build-gpu
ARG EXTRAS=gpu
COPY . /src
RUN /src/deploy/setup.sh install /opt/usthand ${EXTRAS} \
    && /src/deploy/setup.sh slim /opt/usthand

FROM system AS dev
COPY deploy/setup.sh /src/deploy/setup.sh
RUN /src/deploy/setup.sh system all \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* \
    && chown -R usthand /src
USER usthand
WORKDIR /src
COPY --chown=usthand . /src
RUN deploy/setup.sh develop \
    && rm -rf ~/.cache
ENV PATH=/src/.venv/bin:$PATH
CMD ["python", "-m", "pytest", "-m", "not slow"]

FROM system AS gpu
COPY --from=build-gpu /opt/usthand /opt/usthand
RUN python -m deploy.sbom /opt/usthand/share/usthand
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics
USER usthand
WORKDIR /home/usthand
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s CMD ["python", "-m", "app.run.health"]
ENTRYPOINT ["usthand"]

# The last one is what `docker build` makes where no target is named.
FROM system AS cpu
COPY --from=build-cpu /opt/usthand /opt/usthand
RUN python -m deploy.sbom /opt/usthand/share/usthand
USER usthand
WORKDIR /home/usthand
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s CMD ["python", "-m", "app.run.health"]
ENTRYPOINT ["usthand"]

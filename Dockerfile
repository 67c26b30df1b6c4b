# One image for all components: docker build -t REGISTRY/digits:TAG .
# syntax=docker/dockerfile:1
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/venv
# The packages are a layer of their own, which an edit of ours leaves alone. The lock is for
# developers too; TensorFlow's headers are for those who compile operations.
COPY requirements.lock .
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/venv/bin/pip install --no-deps --require-hashes --requirement requirements.lock \
 && /opt/venv/bin/pip uninstall --yes \
    hypothesis kubernetes-validate mypy pytest ruff tflite-micro \
 && rm -r /opt/venv/lib/python3.11/site-packages/tensorflow/include
COPY . .
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation --target /opt/digits .

FROM python:3.11.14-slim-bookworm
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/digits /opt/digits
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/digits PYTHONUNBUFFERED=1 HOME=/home/digits
WORKDIR /home/digits
# Numbers, for clusters that ask that no container runs as root.
RUN chown 65532:65532 /home/digits
USER 65532:65532
# Kubeflow Pipelines replaces it by the command of each component.
ENTRYPOINT ["python", "-m", "pipeline.cli"]

# Latewood in a container. `docker build .` makes the CPU image, `docker build --target gpu .` the one for CUDA.
# Compilers stay in the stages that build; what runs is Python, the packages, and a user without rights.

FROM python:3.11.14-slim-bookworm AS build
RUN apt-get update \
 && apt-get install --no-install-recommends --yes build-essential \
 && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/latewood/bin:$PATH
RUN python -m venv /opt/latewood
# The CPU build: the package index's own would bring gigabytes of CUDA.
ARG TORCH=torch==2.13.0
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --index-url "$TORCH_INDEX" "$TORCH"
WORKDIR /src
COPY . .
RUN pip install --constraint constraints.txt ".[formats,offline-model,server]"

FROM python:3.11.14-slim-bookworm AS run
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin latewood \
 && install --directory --owner latewood --group latewood --mode 0700 /data
COPY --from=build /opt/latewood /opt/latewood
ENV PATH=/opt/latewood/bin:$PATH HOME=/data PYTHONDONTWRITEBYTECODE=1 LATEWOOD_DATA=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["latewood"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]

FROM nvidia/cuda:12.8.1-devel-ubuntu24.04 AS build-gpu
RUN apt-get update \
 && apt-get install --no-install-recommends --yes build-essential ninja-build python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/latewood/bin:$PATH
RUN python3 -m venv /opt/latewood
ARG TORCH=torch==2.13.0
RUN pip install "$TORCH" setuptools wheel packaging
WORKDIR /src
COPY . .
RUN pip install --constraint constraints.txt ".[formats,offline-model,server]" \
 && pip install --no-build-isolation --constraint constraints.txt ".[gpu]"

FROM nvidia/cuda:12.8.1-base-ubuntu24.04 AS gpu
RUN apt-get update \
 && apt-get install --no-install-recommends --yes python3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin latewood \
 && install --directory --owner latewood --group latewood --mode 0700 /data
COPY --from=build-gpu /opt/latewood /opt/latewood
ENV PATH=/opt/latewood/bin:$PATH HOME=/data PYTHONDONTWRITEBYTECODE=1 LATEWOOD_DATA=/data LATEWOOD_DEVICE=cuda
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["latewood"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]

# What `docker build .` makes.
FROM run

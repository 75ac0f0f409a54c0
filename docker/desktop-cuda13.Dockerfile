# x86-64 with an NVIDIA GPU: Ubuntu 24.04, Python 3.12, CUDA 13, TensorRT 11.4 from PyPI. NOT RUN: see docker/README.md.
ARG BASE=nvcr.io/nvidia/cuda:13.0.2-devel-ubuntu24.04
FROM ${BASE}

RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/stprompt-edge
ENV PATH=/opt/stprompt-edge/bin:/usr/local/cuda/bin:${PATH} \
    CUDA_HOME=/usr/local/cuda

# PyCUDA has no wheel: it is compiled against this CUDA, which is why the image is a -devel one.
ARG TENSORRT=11.4.*
RUN pip install --no-cache-dir "tensorrt-cu13==${TENSORRT}" "pycuda>=2024.1" "cuda-python>=13,<14"

COPY . /src
RUN pip install --no-cache-dir "/src[cpu]" && rm -rf /src

ENTRYPOINT ["stprompt-edge"]
CMD ["doctor"]

# Jetson Orin and Thor, JetPack 7.2: Ubuntu 24.04, Python 3.12, CUDA 13, TensorRT 10.16. NOT RUN: see docker/README.md.
#
# JetPack 7 runs the containers of the Arm servers (SBSA); TensorRT and its Python package come from CUDA's own repository.
ARG BASE=nvcr.io/nvidia/cuda:13.0.2-devel-ubuntu24.04
FROM ${BASE}

ARG TENSORRT=10.16.*
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        build-essential "libnvinfer10=${TENSORRT}" "libnvinfer-plugin10=${TENSORRT}" "libnvonnxparsers10=${TENSORRT}" \
        "python3-libnvinfer=${TENSORRT}" python3-dev python3-venv \
    && apt-get install --yes --no-install-recommends \
        python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 \
        gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv --system-site-packages /opt/stprompt-edge
ENV PATH=/opt/stprompt-edge/bin:/usr/local/cuda/bin:${PATH} \
    CUDA_HOME=/usr/local/cuda

RUN pip install --no-cache-dir "pycuda>=2024.1" "cuda-python>=13,<14"

COPY . /src
RUN pip install --no-cache-dir "/src[cpu]" \
    && python -c "import tensorrt; assert tensorrt.__version__.startswith('10.16'), tensorrt.__version__" \
    && rm -rf /src

ENTRYPOINT ["stprompt-edge"]
CMD ["doctor"]

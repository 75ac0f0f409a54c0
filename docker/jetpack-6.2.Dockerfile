# Jetson Orin, JetPack 6.1 and 6.2: Ubuntu 22.04, Python 3.10, CUDA 12.6, TensorRT 10.3. NOT RUN: see docker/README.md.
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
FROM ${BASE}

# TensorRT's Python package is Debian's here, so the environment must see the system's packages.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        build-essential cuda-nvcc-12-6 python3-dev python3-libnvinfer python3-pip python3-venv \
    && apt-get install --yes --no-install-recommends \
        python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 \
        gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv --system-site-packages /opt/stprompt-edge
ENV PATH=/opt/stprompt-edge/bin:/usr/local/cuda/bin:${PATH} \
    CUDA_HOME=/usr/local/cuda \
    LD_LIBRARY_PATH=/usr/local/cuda/lib64:${LD_LIBRARY_PATH}

# PyCUDA has no wheel: it is compiled against this CUDA. cuda-python 13 needs a driver that JetPack 6 does not have.
RUN pip install --no-cache-dir "pycuda>=2024.1" "cuda-python>=12.6,<13"

COPY . /src
RUN pip install --no-cache-dir "/src[cpu]" \
    && python -c "import tensorrt; assert tensorrt.__version__.startswith('10.3'), tensorrt.__version__" \
    && rm -rf /src

ENTRYPOINT ["stprompt-edge"]
CMD ["doctor"]

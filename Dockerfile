# The gate in PyTorch's image, whose torch is under test and stays as it is:
#
#   docker build --build-arg IMAGE=pytorch/pytorch:2.9.1-cuda13.0-cudnn9-runtime -t imagenet-gate .
#   docker run --gpus all --shm-size 2g -v /data/imagenet:/data:ro -v imagenet-gate:/cache imagenet-gate run --imagenet /data
ARG IMAGE=pytorch/pytorch:2.9.1-cuda13.0-cudnn9-runtime
# hadolint ignore=DL3006
FROM ${IMAGE}

# The image's own Python may belong to its distribution, which pip would not add to.
ENV PIP_BREAK_SYSTEM_PACKAGES=1
COPY . /opt/imagenet-gate
RUN python /opt/imagenet-gate/scripts/constraints.py >/opt/constraints.txt \
    && python -m pip install --no-cache-dir --constraint /opt/constraints.txt /opt/imagenet-gate

# Weights and decoded images, on a volume that outlives the container.
ENV TORCH_HOME=/cache/torch IMAGENET_STORE=/cache/store
VOLUME /cache
WORKDIR /work
ENTRYPOINT ["imagenet-gate"]
CMD ["run", "--imagenet", "synthetic"]

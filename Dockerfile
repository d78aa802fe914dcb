# rlgan on CPUs, with the tested versions and everything that needs no GPU.
#
#   docker build -t rlgan .
#   docker run --rm -v "$PWD:/work" rlgan train quick --data my.txt
#
# What a container writes belongs to the user 1000; on a machine where you are another, add `--user "$(id -u)"`.
# The tests of this project lint this file and build no image of it.

FROM python:3.11.14-slim-bookworm AS installed

# PyPI's torch brings gigabytes of CUDA; this index has the same release for CPUs. For GPUs: https://pypi.org/simple
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY envs envs
COPY tuning tuning
COPY rlgan rlgan
RUN python -m venv /opt/rlgan \
    && /opt/rlgan/bin/python -m pip install --no-cache-dir -c constraints.txt --index-url "$TORCH_INDEX" torch \
    && /opt/rlgan/bin/python -m pip install --no-cache-dir -c constraints.txt ".[tune,pairs,pieces,completion,cluster]"

FROM python:3.11.14-slim-bookworm

COPY --from=installed /opt/rlgan /opt/rlgan
ENV PATH=/opt/rlgan/bin:$PATH HOME=/home/rlgan MPLBACKEND=Agg MLFLOW_DISABLE_TELEMETRY=true RAY_USAGE_STATS_ENABLED=0
# The home folder is anybody's: libraries keep small files there, whatever user the container runs as.
RUN useradd --uid 1000 --home-dir /home/rlgan --create-home rlgan && chmod 0777 /home/rlgan
USER 1000
WORKDIR /work
ENTRYPOINT ["rlgan"]
CMD ["--help"]

# Three images from one file: docker build --target inference|monitor|model . (scripts/images builds all).
ARG BASE=python:3.11-slim@sha256:e41613d42d4891e4930f79523f93f81bbc7632584ec65e36ab055f41a800b41e

# The bundle that the repository ships; --build-context bundle=FOLDER puts another one in its place.
FROM scratch AS bundle
COPY models/champion /

# Nothing but a bundle, for any architecture: the init container that copies it brings the program (docs/adr/0010).
FROM scratch AS model
# A bundle that was just trained can be its owner's alone to read.
COPY --from=bundle --chmod=755 / /bundle/
ARG GIT_COMMIT=unknown
ARG VERSION=local
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="model" \
      org.opencontainers.image.description="A bundle: model.onnx and manifest.json" \
      org.opencontainers.image.revision="${GIT_COMMIT}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="${SOURCE}"

# Nothing of this stage is shipped but what later stages copy out of it.
FROM ${BASE} AS build
WORKDIR /app
RUN python -m venv --without-pip /venv

FROM build AS inference-packages
COPY services/inference/requirements.lock .
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /venv/bin/python install --require-hashes --only-binary :all: --requirement requirements.lock \
    && find /venv -type d -name tests -prune -exec rm -r {} +

FROM build AS monitor-packages
COPY services/monitor/requirements.lock .
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /venv/bin/python install --require-hashes --only-binary :all: --requirement requirements.lock \
    && find /venv -type d -name tests -prune -exec rm -r {} +

FROM build AS files
COPY models models
COPY bundle bundle
COPY services services
# A bundle that was just trained can be its owner's alone to read. Bytecode: nobody can write it later.
RUN chmod -R a+rX . && python -m compileall -q --invalidation-mode unchecked-hash bundle services

FROM ${BASE} AS runtime
# What comes with the base and nothing here needs: who breaks in finds no way to install, to become root, or a shell.
# The last RUN: there is no shell for another. The list of Debian's packages stays, for scanners.
RUN rm -rf /usr/local/lib/python3.*/site-packages/* /usr/lib/python3/dist-packages/pip* /usr/local/bin/pip* /usr/bin/pip* \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && rm -f /usr/bin/apt* /usr/bin/dpkg* /usr/bin/perl* /bin/bash /bin/rbash /bin/dash /bin/sh
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app

FROM runtime AS inference
COPY --from=inference-packages /venv /venv
COPY --from=files /app/models models
COPY --from=files /app/bundle bundle
COPY --from=files /app/services/__init__.py services/
COPY --from=files /app/services/inference services/inference
# Numbers: of a name, Kubernetes cannot tell that it is not root's.
USER 10001:10001
# glibc gives the memory of large images back at once, instead of keeping a heap per thread.
ENV HOST=0.0.0.0 MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=1048576 MALLOC_TRIM_THRESHOLD_=2097152
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["python", "-m", "services.inference.container", "healthcheck"]
CMD ["gunicorn", "--config", "services/inference/gunicorn.conf.py", "services.inference.app:create_app()"]
ARG GIT_COMMIT=unknown
ARG VERSION=local
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="inference" \
      org.opencontainers.image.description="Pictures in, labels out" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${GIT_COMMIT}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="${SOURCE}"

FROM runtime AS monitor
COPY --from=monitor-packages /venv /venv
COPY --from=files /app/services/__init__.py services/
COPY --from=files /app/services/monitor services/monitor
USER 10001:10001
# A job: its exit code says whether all is well.
HEALTHCHECK NONE
CMD ["python", "-m", "services.monitor"]
ARG GIT_COMMIT=unknown
ARG VERSION=local
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="monitor" \
      org.opencontainers.image.description="The post-deploy check" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${GIT_COMMIT}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="${SOURCE}"

# One shard as one unprivileged process, on a root file system that may be read-only.
#
#   docker build -t tickwire .                       the server
#   docker build -t tickwire:0.1.0-loadtest --target loadtest .    the load tests
#
# Pin the base image when you build: --build-arg BASE=python:3.12-slim@sha256:...
# BUILD_BASE has the same version of Python, and a C compiler: it builds the native kernel.
ARG BASE=python:3.12-slim
ARG BUILD_BASE=python:3.12

# -- wheels, built once; the build tools stay in this stage
FROM ${BUILD_BASE} AS wheels
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# The same sources build identical wheels.
ARG SOURCE_DATE_EPOCH=1700000000
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH}
WORKDIR /source
RUN python3 -m venv /build
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY tickwire tickwire
COPY schemas schemas
COPY matchmaking matchmaking
COPY server server
COPY services services
COPY client client
COPY examples examples
COPY loadtest loadtest
COPY testing testing
RUN /build/bin/python -m pip wheel --quiet --wheel-dir /wheels --constraint constraints.txt '.[loadtest,traces]'

# -- an environment from those wheels alone, without tools to install more
FROM ${BASE} AS environment
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY --from=wheels /wheels /wheels
RUN python3 -m venv /opt/tickwire \
    && /opt/tickwire/bin/python -m pip install --quiet --no-index --find-links /wheels --no-compile 'tickwire[traces]' \
    && /opt/tickwire/bin/python -m pip uninstall --quiet --yes setuptools pip
RUN /opt/tickwire/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/tickwire/lib \
    && rm -rf /opt/tickwire/bin/pip* /opt/tickwire/lib/python3*/site-packages/pip*

FROM ${BASE} AS loadtest-environment
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
COPY --from=wheels /wheels /wheels
RUN python3 -m venv /opt/tickwire \
    && /opt/tickwire/bin/python -m pip install --quiet --no-index --find-links /wheels --no-compile 'tickwire[loadtest]' \
    && rm -rf /opt/tickwire/bin/pip* /opt/tickwire/lib/python3*/site-packages/pip*

# -- the common base of both images
FROM ${BASE} AS runtime
RUN rm -rf /usr/bin/apt* /usr/lib/apt /var/lib/apt /etc/apt /var/cache/apt \
        /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip \
    && echo 'tickwire:x:10001:10001::/nonexistent:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'tickwire:x:10001:' >> /etc/group
ENV PATH=/opt/tickwire/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONHASHSEED=random
# Python imports games from here. It is not /tmp, where the chart mounts an empty volume.
WORKDIR /game
USER 10001:10001

FROM runtime AS loadtest
COPY --from=loadtest-environment /opt/tickwire /opt/tickwire
ENTRYPOINT ["python", "-m", "tickwire.loadtest"]

FROM runtime AS server
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tickwire" \
      org.opencontainers.image.description="A real-time game session server" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=environment /opt/tickwire /opt/tickwire
# serve: 8080 for players, 9090 for operations. api: 8090 and 9091.
EXPOSE 8080 9090 8090 9091
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import socket, urllib.request; port = next(p for p in (9090, 9091) if socket.socket().connect_ex(('127.0.0.1', p)) == 0); urllib.request.urlopen(f'http://127.0.0.1:{port}/livez', timeout=2)"]
# The process of a role is process 1: it receives SIGTERM itself, and has no child processes to reap.
ENTRYPOINT ["tickwire"]
CMD ["serve"]

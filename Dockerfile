# The dispatcher, without functions: an app's own image begins FROM this one (`dispatch init` writes such a Dockerfile).
#
#   docker build --tag dispatch:0.1.0 .
#   docker run --read-only --tmpfs /tmp --stop-timeout 45 dispatch:0.1.0 --version
#
# An index of your own, or its certificates: --secret id=pip.conf,src=pip.conf. Pin the base by its digest where builds must repeat.
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
# /tools builds and installs, and stays behind; /opt/dispatch is what is shipped, without pip.
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/dispatch
COPY scripts/requirements-image.txt scripts/requirements-runtime.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /tools/bin/pip install --quiet --disable-pip-version-check --no-cache-dir --only-binary :all: --require-hashes \
        --requirement requirements-image.txt \
    && /tools/bin/pip --python /opt/dispatch/bin/python install --quiet --disable-pip-version-check --no-cache-dir \
        --only-binary :all: --require-hashes --requirement requirements-runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY bindings bindings
COPY dispatcher dispatcher
RUN /tools/bin/hatchling build --target wheel --directory /dist \
    && /tools/bin/pip --python /opt/dispatch/bin/python install --quiet --disable-pip-version-check --no-index --no-deps /dist/*.whl \
    && /tools/bin/cyclonedx-py environment /opt/dispatch/bin/python --pyproject pyproject.toml --mc-type application \
        --spec-version 1.6 --output-format JSON --no-validate --output-file /opt/dispatch/sbom.json

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dispatch" \
    org.opencontainers.image.description="Push events from Apache Kafka into functions: in order, with retries, dead letters and precise offsets." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    dispatch.sbom="/opt/dispatch/sbom.json"
RUN groupadd --gid 10001 dispatch \
    && useradd --uid 10001 --gid dispatch --no-create-home --home-dir /app --shell /usr/sbin/nologin dispatch \
    && install --directory --owner=dispatch --group=dispatch /app /app/.dispatch
COPY --from=build /opt/dispatch /opt/dispatch
# No bytecode is written: the root may be read-only, and what pip has installed is compiled.
ENV PATH=/opt/dispatch/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DISPATCH_MONITORING=0.0.0.0:9464
WORKDIR /app
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 9464
# The drain takes as long as `drain` says (25 s), and leaving the group a little more: docker stop --time 45.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "import http.client, os, sys; \
c = http.client.HTTPConnection('127.0.0.1', int(os.environ['DISPATCH_MONITORING'].rpartition(':')[2]), timeout=4); \
c.request('GET', '/livez'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["dispatch"]
CMD ["run", "--log-format", "json"]

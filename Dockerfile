# Fluent Bit with duo_in, and duoctl beside it, for linux/amd64 and linux/arm64.
# It runs as a user without rights, writes to one volume only, and takes what it
# needs to know from the environment. docs/docker.md says how to run it.
#
# It takes BuildKit: Docker 23 or newer, or docker buildx.

# The plugin must not need a newer glibc than Fluent Bit's image has, so GO_IMAGE
# is of an older Debian. Fluent Bit's images on musl cannot load a Go plugin.
ARG GO_IMAGE=golang:1.26-bookworm
ARG FLUENT_BIT_IMAGE=fluent/fluent-bit:4.2.8
ARG VERSION=0.1.0

# Go and gcc run on the machine that builds, and make what runs on the other: no
# emulation.
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
ARG BUILDARCH
ARG TARGETARCH
# Debian's gcc has a name with the architecture too, whether it crosses or not.
RUN case "$TARGETARCH" in \
        amd64) cc=x86_64-linux-gnu ;; \
        arm64) cc=aarch64-linux-gnu ;; \
        *) echo "TARGETARCH \"$TARGETARCH\": want amd64 or arm64, which BuildKit sets" >&2; exit 1 ;; \
    esac; \
    if [ "$TARGETARCH" != "$BUILDARCH" ]; then \
        apt-get update -q && \
        apt-get install -qy --no-install-recommends "gcc-$(echo $cc | tr _ -)" "libc6-dev-$TARGETARCH-cross" && \
        rm -rf /var/lib/apt/lists/* || exit 1; \
    fi; \
    go env -w "CC=$cc-gcc" "GOARCH=$TARGETARCH"
WORKDIR /src
# After go mod vendor, which leaves a modules.txt, nothing is downloaded.
COPY go.mod go.sum vendo[r]/modules.txt ./
RUN test -e modules.txt || go mod download
COPY . .
ARG VERSION
RUN --mount=type=cache,target=/root/.cache/go-build \
    export GOFLAGS="-trimpath -buildvcs=false -tags=codec.notfastpath" && \
    CGO_ENABLED=1 go build -buildmode=c-shared -ldflags "-s -w -X main.version=$VERSION" -o /out/duo_in.so ./plugin && \
    CGO_ENABLED=0 go build -ldflags "-s -w" -o /out/duoctl ./cmd/duoctl && \
    mkdir -m 0700 /out/state

# Fluent Bit's image has no shell, so what it is to hold was made above.
FROM ${FLUENT_BIT_IMAGE}
ARG FLUENT_BIT_IMAGE
ARG VERSION
ARG REVISION=
# Those that are empty would be Fluent Bit's own otherwise.
LABEL org.opencontainers.image.title="duo_in" \
      org.opencontainers.image.description="Fluent Bit with duo_in, which pulls the logs of a Duo Security account" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="$FLUENT_BIT_IMAGE" \
      org.opencontainers.image.authors="" \
      org.opencontainers.image.documentation="" \
      org.opencontainers.image.source="" \
      org.opencontainers.image.vendor=""
COPY --from=build /out/duo_in.so /fluent-bit/lib/duo_in.so
COPY --from=build /out/duoctl /usr/local/bin/duoctl
COPY deploy/docker/duo_in.conf /fluent-bit/etc/duo_in.conf
# A named volume takes over owner and mode when it is first used.
COPY --from=build --chown=65532:65532 /out/state /var/lib/duo_in
VOLUME /var/lib/duo_in
USER 65532:65532
# There is no HEALTHCHECK, since not every configuration has Fluent Bit's HTTP
# server: compose.yaml has one, by duoctl health, and Kubernetes has its probes.
ENTRYPOINT ["/fluent-bit/bin/fluent-bit"]
CMD ["-e", "/fluent-bit/lib/duo_in.so", "-c", "/fluent-bit/etc/duo_in.conf"]

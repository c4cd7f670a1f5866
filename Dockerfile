# Fluent Bit with duo_in, which runs as a user without rights and writes to one
# volume only. Everything it needs to know comes from the environment:
# DUO_API_HOST, DUO_INTEGRATION_KEY and DUO_SECRET_KEY.
#
# The plugin must not need a newer glibc than Fluent Bit's image has, so GO_IMAGE
# is of an older Debian. Fluent Bit's images on musl cannot load a Go plugin.
ARG GO_IMAGE=golang:1.26-bookworm
ARG FLUENT_BIT_IMAGE=fluent/fluent-bit:4.2

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY . .
RUN go build -buildmode=c-shared -trimpath -buildvcs=false -ldflags "-s -w" -o /out/duo_in.so ./plugin
# Fluent Bit's image has no shell, so what it is to hold is made here.
RUN mkdir /out/state

FROM ${FLUENT_BIT_IMAGE}
COPY --from=build /out/duo_in.so /fluent-bit/lib/duo_in.so
COPY --from=build /src/fluent-bit.conf.example /fluent-bit/etc/duo_in.conf
# A named volume takes over the owner when it is first used.
COPY --from=build --chown=65532:65532 /out/state /var/lib/duo_in
VOLUME /var/lib/duo_in
USER 65532:65532
ENTRYPOINT ["/fluent-bit/bin/fluent-bit"]
CMD ["-e", "/fluent-bit/lib/duo_in.so", "-c", "/fluent-bit/etc/duo_in.conf"]

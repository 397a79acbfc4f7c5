#!/bin/sh
# Runs the examples of a build folder, and a text index whose workers are killed.
#
#   examples.sh BUILD_DIR
set -eu
build=$1/examples
memory=/dev/shm
if ! [ -w $memory ]; then # heaps want memory, but a builder may have none
        memory=${TMPDIR:-/tmp}
        export SHMALLOC_CONF=disk:true
fi
SHMALLOC_DIR=$(mktemp -d "$memory/shmalloc-build-XXXXXX")
trap 'rm -rf "$SHMALLOC_DIR"' EXIT
trap 'exit 1' HUP INT TERM
export SHMALLOC_DIR

for example in hello construct producer_consumer; do
        echo "$example:"
        "$build/$example"
done
"$build/wordindex" -w 2 README.md CONTRIBUTING.md
"$build/wordindex" -w 2 --kill README.md CONTRIBUTING.md

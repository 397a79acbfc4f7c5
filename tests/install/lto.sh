#!/bin/sh
# The static library shows what is public and nothing else, whatever options it is compiled with: a program may have a
# function of the same name as one of the library's own.  See lto/CMakeLists.txt.
#
#   lto.sh SOURCE_DIR
set -eu
source=$1
here=$(cd "$(dirname "$0")" && pwd)
cmake=${CMAKE:-cmake}
nm=${NM:-nm}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

log() {
        if ! "$@" >"$tmp/log" 2>&1; then
                echo "failed: $*"
                cat "$tmp/log"
                exit 1
        fi
}

# try COMPILER FLAG...
try() {
        compiler=$1
        shift
        rm -rf "$tmp/build"
        log "$cmake" -S "$here/lto" -B "$tmp/build" -DSHMALLOC_SOURCE="$source" -DCMAKE_C_COMPILER="$compiler" \
                -DCMAKE_C_FLAGS="$*"
        log "$cmake" --build "$tmp/build"
        visible=$("$nm" -g --defined-only "$tmp/build/libshmalloc.a" | awk 'NF == 3 { print $3 }')
        if [ "$visible" != public_answer ]; then
                echo "failed: $compiler $*: the library shows $visible"
                exit 1
        fi
        log "$tmp/build/program"
        echo "ok: $compiler $*"
}

unset CFLAGS LDFLAGS
try "${CC:-cc}" -O2 -flto
# Its linker may lack what it takes.
if command -v clang >/dev/null &&
        clang -flto -o "$tmp/any" "$here/lto/program.c" "$here/lto/public.c" >"$tmp/log" 2>&1; then
        try clang -O2 -flto
fi

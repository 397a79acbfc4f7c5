#!/bin/sh
# A project that takes this one along by add_subdirectory() gets the library and nothing else: its build type stays its
# own, nothing is installed uninvited, and neither tests nor tools are built.
#
#   subproject.sh SOURCE_DIR            as it is configured
#   subproject.sh SOURCE_DIR --build    built and run, too, with link-time optimisation
set -eu
source=$1
here=$(cd "$(dirname "$0")" && pwd)
cmake=${CMAKE:-cmake}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

fail() {
        echo "failed: $*"
        cat "$tmp/log"
        exit 1
}

log() {
        "$@" >"$tmp/log" 2>&1 || fail "$@"
}

unset CFLAGS CMAKE_BUILD_TYPE
flags=
[ "${2:-}" != --build ] || flags="-flto -O2"
log "$cmake" -S "$here/subproject" -B "$tmp/build" -DSHMALLOC_SOURCE="$source" -DCMAKE_C_COMPILER="${CC:-cc}" \
        -DCMAKE_C_FLAGS="$flags"
log "$cmake" -S "$here/subproject" -B "$tmp/build" # once more, what was chosen being in the cache
# The scripts of installation are there and say it all: of the parent's folder and of this project's.
if grep -l 'file(INSTALL\|configure_file' "$tmp/build/shmalloc/cmake_install.cmake" >"$tmp/log" 2>&1; then
        fail "the project that is taken along installs itself"
fi
grep -q 'file(INSTALL' "$tmp/build/cmake_install.cmake" || fail "the parent installs nothing"
echo "ok: configured"
[ "${2:-}" = --build ] || exit 0

log "$cmake" --build "$tmp/build" --parallel 2
log "$tmp/build/consumer"
log "$tmp/build/consumer_static"
SHMALLOC_SO=$(find "$tmp/build" -name libshmalloc.so) SHMALLOC_A=$(find "$tmp/build" -name libshmalloc.a)
export SHMALLOC_SO SHMALLOC_A
log sh "$here/../style/check_exports.sh" "$source"
log "$cmake" --install "$tmp/build" --prefix "$tmp/prefix"
(cd "$tmp/prefix" && find . -type f) >"$tmp/log"
[ "$(cat "$tmp/log")" = ./bin/consumer ] || fail "more is installed than the parent's program"
echo "ok: built with $flags"

#!/bin/sh
# What is installed can be used: by pkg-config from C and C++, linked shared and static, and by find_package; and the
# installed tree can be moved.
#
#   consumer.sh BUILD_DIR
set -eu
build=$1
here=$(cd "$(dirname "$0")" && pwd)
cc=${CC:-cc}
cxx=${CXX:-c++}
cmake=${CMAKE:-cmake}

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

run() {
        if ! "$@"; then
                echo "failed: $*"
                exit 1
        fi
        echo "ok: ${1#"$tmp"/}"
}

log "$cmake" --install "$build" --prefix "$tmp/first"
mv "$tmp/first" "$tmp/prefix"
libdir=$tmp/prefix/${LIBDIR:-lib}
PKG_CONFIG_PATH=$libdir/pkgconfig
export PKG_CONFIG_PATH

cflags=$(pkg-config --cflags shmalloc)
libs=$(pkg-config --libs shmalloc)
static_libs=$(pkg-config --libs --static shmalloc | sed 's/-lshmalloc/-l:libshmalloc.a/')
version=$(pkg-config --modversion shmalloc)
echo "shmalloc $version: $cflags $libs"

# The flags are meant to be split into words.
# shellcheck disable=SC2086
{
        log "$cc" -std=c11 -D_XOPEN_SOURCE=700 -Wall -Wextra -Werror $cflags -o "$tmp/c" "$here/consumer.c" $libs -Wl,-rpath,"$libdir"
        log "$cc" -std=c11 -D_XOPEN_SOURCE=700 $cflags -o "$tmp/c-static" "$here/consumer.c" $static_libs
        log "$cxx" -x c++ -std=c++17 -Wall -Wextra -Werror $cflags -o "$tmp/c++" "$here/consumer.c" -x none $libs -Wl,-rpath,"$libdir"
}
run "$tmp/c"
run "$tmp/c-static"
run "$tmp/c++"

log "$cmake" -S "$here" -B "$tmp/cmake" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$tmp/prefix"
log "$cmake" --build "$tmp/cmake"
run "$tmp/cmake/consumer"
run "$tmp/cmake/consumer_static"

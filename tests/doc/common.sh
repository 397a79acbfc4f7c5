# What the scripts of this folder share.  Each is started as  NAME.sh SOURCE_DIR BUILD_DIR.
# shellcheck shell=sh
set -eu
source=$(cd "${1:?usage: $0 SOURCE_DIR BUILD_DIR}" && pwd)
build=$(cd "${2:?usage: $0 SOURCE_DIR BUILD_DIR}" && pwd)
cc=${CC:-cc}

tmp=$(mktemp -d)
SHMALLOC_DIR=$(mktemp -d /dev/shm/shmalloc-test-XXXXXX) # heaps want memory
SHMALLOC_CONF=capacity:64M
export SHMALLOC_DIR SHMALLOC_CONF
trap 'rm -rf "$tmp" "$SHMALLOC_DIR"' EXIT
trap 'exit 1' HUP INT TERM

fail() {
        echo "failed: $*"
        exit 1
}

# Installs what is built below $tmp/prefix, for programs that are compiled here as its readers would.
install_it() {
        "${CMAKE:-cmake}" --install "$build" --prefix "$tmp/prefix" >"$tmp/log" 2>&1 || {
                cat "$tmp/log"
                fail "cmake --install"
        }
        libdir=$tmp/prefix/${LIBDIR:-lib}
        PKG_CONFIG_PATH=$libdir/pkgconfig
        LD_LIBRARY_PATH=$libdir
        PATH=$tmp/bin:$tmp/prefix/bin:$PATH
        export PKG_CONFIG_PATH LD_LIBRARY_PATH PATH
        mkdir "$tmp/bin"
        [ "$cc" = cc ] || printf '#!/bin/sh\nexec %s "$@"\n' "$cc" >"$tmp/bin/cc"
        [ ! -e "$tmp/bin/cc" ] || chmod +x "$tmp/bin/cc"
}

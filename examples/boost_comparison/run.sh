#!/bin/sh
# Kills processes that use Boost.Interprocess and shmalloc in the same program, and says how the next one fares.
# Builds them first, if that has not been done; that wants g++, and Boost's headers for the one half.
#
#   run.sh BUILD_DIR [KILLS]
set -eu
here=${1:?usage: $0 BUILD_DIR [KILLS]}/examples/boost_comparison

# build LIBRARY   if there is no such program yet; a compiler may have come since the folder was configured
build() {
        [ ! -x "$here/$1" ] || return 0
        [ -n "${is_configured:-}" ] || cmake -U CMAKE_CXX_COMPILER -U SHMALLOC_BOOST_INCLUDE "$build" >/dev/null
        is_configured=yes
        cmake --build "$build" --target "comparison-$1" >/dev/null 2>&1
}

build=$1
build boost || echo "Boost.Interprocess is not compared: g++ or libboost-dev is missing" >&2
build ours || {
        echo "$0: the comparison cannot be built: g++ is missing" >&2
        exit 1
}
[ ! -x "$here/boost" ] || "$here/boost" "${2:-1000}" || : # it hangs, and says so
"$here/ours" "${2:-1000}"

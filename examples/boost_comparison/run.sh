#!/bin/sh
# Kills processes that use Boost.Interprocess and shmalloc in the same program, and says how the next one fares.
#
#   run.sh BUILD_DIR [KILLS]
here=$1/examples/boost_comparison
[ ! -x "$here/boost" ] || "$here/boost" "${2:-1000}"
"$here/ours" "${2:-1000}"

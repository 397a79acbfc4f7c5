#!/bin/sh
# shmalloc.hpp compiles alone, without a warning, for every standard that it is for.
#
#   standards.sh SOURCE_DIR COMPILER...
set -eu
source=$1
shift
for compiler in "$@"; do
        for standard in 17 20 2b; do
                echo '#include <shmalloc/shmalloc.hpp>' |
                        "$compiler" -x c++ -std=c++$standard -Wall -Wextra -Wpedantic -Wshadow -Werror \
                                -I"$source/include" -fsyntax-only -
                echo "ok: $compiler -std=c++$standard"
        done
        echo '#include <shmalloc/shmalloc.hpp>' |
                "$compiler" -x c++ -std=c++17 -fno-rtti -Werror -I"$source/include" -fsyntax-only -
        echo "ok: $compiler -fno-rtti"
done

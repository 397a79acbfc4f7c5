#!/bin/sh
# Every header compiles alone, and twice: those of lib/ as C11 with the warnings of the build, the public ones also
# as strict C11 and as C++17, both with -Wpedantic.
. "$(dirname "$0")/common.sh"

cc=${CC:-cc}
cxx=${CXX:-c++}
warnings="-Wall -Wextra -Wshadow -Wpointer-arith -Werror"
n=0

# compile HEADER COMPILER FLAG...
compile() {
        header=$1
        shift
        printf '#include <%s>\n#include <%s>\nextern int not_empty;\n' "$header" "$header" >"$tmp/alone"
        if ! "$@" -fsyntax-only -Iinclude -Ilib "$tmp/alone" >"$tmp/messages" 2>&1; then
                violation "$header: does not compile alone with: $*"
                violation <"$tmp/messages"
        fi
        n=$((n + 1))
}

# Warning options are words.
# shellcheck disable=SC2086
{
        for file in $(files h lib); do
                compile "${file#lib/}" "$cc" -x c -std=gnu11 -D_GNU_SOURCE $warnings -Wstrict-prototypes -Wvla
        done
        for file in $(files h include); do
                compile "${file#include/}" "$cc" -x c -std=c11 -Wpedantic $warnings -Wstrict-prototypes
                compile "${file#include/}" "$cc" -x c -std=gnu11 -D_GNU_SOURCE -Wpedantic $warnings
                compile "${file#include/}" "$cxx" -x c++ -std=c++17 -Wpedantic $warnings
                compile "${file#include/}" "$cc" -x c -std=c11 -DSHMALLOC_NO_SHORT_NAMES -Wpedantic $warnings
        done
}
finish "$n compilations of single headers"

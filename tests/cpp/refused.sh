#!/bin/sh
# What refused.cpp has in its cases does not compile, and the compiler says why in the words that stand behind each.
#
#   refused.sh SOURCE_DIR COMPILER...
set -eu
source=$1
shift
file=$source/tests/cpp/refused.cpp

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
messages=$tmp/messages

bad=0
compile() {
        "$@" -std=c++17 -I"$source/include" -include "$tmp/all.hpp" -fsyntax-only "$file" >"$messages" 2>&1
}

# What it includes is read once.
for compiler in "$@"; do
        n=0
        grep '^#include' "$file" >"$tmp/all.hpp"
        "$compiler" -std=c++17 -I"$source/include" -x c++-header -o "$tmp/all.hpp.gch" "$tmp/all.hpp"
        if ! compile "$compiler" -DCASE=0; then
                echo "$compiler: what is allowed does not compile:"
                head -20 "$messages"
                bad=1
        fi
        for case in $(sed -n 's/^#elif CASE == \([0-9]*\) .*/\1/p' "$file"); do
                wanted=$(sed -n "s,^#elif CASE == $case */\* \(.*\) \*/\$,\1,p" "$file")
                if compile "$compiler" -DCASE="$case"; then
                        echo "$compiler: case $case compiles, but should be refused: $wanted"
                        bad=1
                elif [ -z "$wanted" ] || ! grep -qF "shm: $wanted" "$messages"; then
                        echo "$compiler: case $case does not say: $wanted"
                        head -20 "$messages"
                        bad=1
                fi
                n=$((n + 1))
        done
        [ "$n" -gt 0 ] || bad=1
        echo "$compiler: $n cases"
done
exit $bad

#!/bin/sh
# The programs of examples/bindings/, one after the other on one heap: each finds what the one before has left.  At the
# end the heap is good and has no byte more than after the first round.
#
#   bindings.sh SOURCE_DIR LIBRARY_DIR CHECK LANGUAGE=COMPILER...
#
# LANGUAGE is rust, go, node or python; CHECK is a program that says what is allocated in a heap and is wrong with it.
set -eu
source=$1
samples=$1/examples/bindings
library=$2
check=$3
shift 3

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
SHMALLOC_DIR=$(mktemp -d /dev/shm/shmalloc-test-XXXXXX)
trap 'rm -rf "$tmp" "$SHMALLOC_DIR"' EXIT
LD_LIBRARY_PATH=$library
PYTHONDONTWRITEBYTECODE=1
export SHMALLOC_DIR LD_LIBRARY_PATH PYTHONDONTWRITEBYTECODE

build() {
        if ! "$@" >"$tmp/log" 2>&1; then
                echo "failed: $*"
                cat "$tmp/log"
                exit 1
        fi
}

: >"$tmp/order"
for tool in "$@"; do
        with=${tool#*=}
        case $tool in
        rust=*)
                build "$with" -D warnings -L "$library" -C "link-arg=-Wl,-rpath,$library" -o "$tmp/rust" \
                        "$samples/visits.rs"
                echo "Rust $tmp/rust" >>"$tmp/order"
                ;;
        go=*)
                build env CGO_CFLAGS="-I$source/include" CGO_LDFLAGS="-L$library -Wl,-rpath,$library" HOME="$tmp" \
                        GO111MODULE=off GOFLAGS= GOCACHE="$tmp/gocache" "$with" build -o "$tmp/go" "$samples/visits.go"
                echo "Go $tmp/go" >>"$tmp/order"
                ;;
        node=*)
                cp "$samples/node/visits.js" "$tmp"
                build "${CC:-cc}" -Wall -Wextra -Werror -shared -fPIC -I"${NODE_INCLUDE:-/usr/include/node}" \
                        -I"$source/include" -o "$tmp/visits.node" "$samples/node/visits.c" -L"$library" -lshmalloc \
                        -Wl,-rpath,"$library"
                echo "Node $with $tmp/visits.js" >>"$tmp/order"
                ;;
        python=*)
                echo "Python $with $samples/visits.py" >>"$tmp/order"
                ;;
        *)
                echo "failed: no such language: $tool"
                exit 1
                ;;
        esac
done
[ -s "$tmp/order" ]

n=0
before=nothing
for round in 1 2 3; do
        while read -r language program; do
                n=$((n + 1))
                wanted="$language is number $n, finds $before"
                # The words of a command.
                # shellcheck disable=SC2086
                said=$($program bindings </dev/null)
                [ "$said" = "$wanted" ] || {
                        echo "failed: $program says \"$said\", not \"$wanted\""
                        exit 1
                }
                echo "ok: $said"
                before="a note from $language"
        done <"$tmp/order"
        allocated=$("$check" bindings)
        [ "$round" -gt 1 ] || first=$allocated
done
[ "$allocated" = "$first" ] || {
        echo "failed: $first allocated after the first round, $allocated after the last"
        exit 1
}

#!/bin/sh
# Instructions of a shmalloc(64) + shfree pair, hits, in the shared library, or of another call of the family and what
# undoes it: those of N pairs less those of no pair, less those of pairs that do nothing.
# Usage: count.sh PAIR_PROGRAM MOST [CALL]
set -eu
pair=$1
most=$2
call=${3:-heap}
n=20000
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

count() {
        if ! valgrind --tool=callgrind --callgrind-out-file="$dir/out" "$pair" "$1" "$2" >"$dir/log" 2>&1; then
                cat "$dir/log" >&2
                exit 1
        fi
        awk '/^summary:|^totals:/ { print $2; exit }' "$dir/out"
}

# What is in every pair is in the least of three tries: the opening of a heap takes more instructions where another one
# has the place that it wants, and the process's maps are read.
least() {
        { count "$1" "$2" && count "$1" "$2" && count "$1" "$2"; } | sort -n | head -1
}

with=$(least "$call" $n)
without=$(least "$call" 0)
null=$(count null $n)
null0=$(count null 0)
awk -v a="$with" -v b="$without" -v c="$null" -v d="$null0" -v n="$n" -v most="$most" 'BEGIN {
        pair = (a - b) / n
        net = pair - (c - d) / n
        printf "instructions of a hit pair: %.2f with the driver, %.2f net of a pair that does nothing\n", pair, net
        if (net < 10) { print "too few to be true: the heap was not used"; exit 1 }
        # A tenth is what is not in every pair.
        if (net > most + 0.1) { printf "more than the budget of %s\n", most; exit 1 }
}'

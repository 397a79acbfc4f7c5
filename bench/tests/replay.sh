#!/bin/sh
# That a replay does what the trace says, by whichever allocator, one that is given by its path as well, and that it
# notices one that hands out what is not to be had.  Traces that cannot be are refused.
. "$(dirname "$0")/common.sh"

# event KIND BLOCK SIZE ALIGN   sixteen bytes
word() {
        printf "\\$(printf %o $(($1 & 255)))\\$(printf %o $(($1 >> 8 & 255)))\\$(printf %o $(($1 >> 16 & 255)))\\0"
}
event() {
        word "$1"
        word "$2"
        word "$3"
        word "$4"
}
malloc=0 free=1 calloc=2 realloc=3 aligned=4

mkdir "$dir/traces"
{
        event $malloc 0 12345 0
        event $malloc 1 12345 0
        event $malloc 2 0 0
        event $calloc 3 12345 0
        event $realloc 0 100 0
        event $realloc 0 12345 0
        event $aligned 4 12345 4096
        event $free 1 0 0
        event $malloc 1 300000 0
        event $realloc 1 3000000 0
        event $free 3 0 0
        event $free 4 0 0
        event $malloc 0 0 0
} | head -c 192 >"$dir/traces/all.trace" # without the last one
head -c 4096 /dev/zero >>"$dir/traces/all.trace"
[ "$("$bin/trace-show" "$dir/traces/all.trace" | tail -n 1)" = "free 4" ] || fail "zeros at the end are no events"
"$bin/trace-show" --sum "$dir/traces/all.trace" >"$dir/sum"
grep -q ': 12 calls, at most 5 blocks at once, 3 left at the end; malloc 4, free 3, calloc 1, realloc 3, aligned_al' \
        "$dir/sum" || fail "the sum is $(cat "$dir/sum")"
if command -v zstd >/dev/null; then
        zstd -q "$dir/traces/all.trace" -o "$dir/traces/packed.trace.zst"
        "$bin/trace-show" "$dir/traces/packed.trace.zst" >"$dir/unpacked"
        "$bin/trace-show" "$dir/traces/all.trace" | cmp -s - "$dir/unpacked" || fail "what zstd unpacks is not the same"
        rm "$dir/traces/packed.trace.zst"
fi

# replay OPTION...   a figure for each allocator, in csv
replay() {
        rm -f "$dir/csv"
        "$bin/traces" --traces "$dir/traces" --tiny --rounds 1 --csv "$dir/csv" "$@" >"$dir/out" 2>&1
}
has() {
        grep -q "^traces,all,time,ns,$1,$2,[0-9.e+-]*," "$dir/csv" || fail "no figure of $1, $2: $(cat "$dir/out")"
}
replay --peer "$bin/libpeer-good.so" || fail "a replay fails: $(cat "$dir/out")"
for allocator in null,null shmalloc,ours glibc,private peer-good,private; do
        has "${allocator%,*}" "${allocator#*,}"
done
grep -q 'failed\|ended' "$dir/out" && fail "some failed: $(cat "$dir/out")"

# notices KIND TEXT
notices() {
        replay --allocators shmalloc --peer "$bin/libpeer-$1.so" || :
        grep -q "peer-$1: event [0-9]*: $2" "$dir/out" || fail "$1: nobody says $2: $(cat "$dir/out")"
        grep -q "^traces,all,time,ns,peer-$1," "$dir/csv" && fail "$1: it has a figure all the same"
        return 0
}
notices overlaps "a block has been overwritten"
notices dirty "what calloc gave is not zero"
notices loses "realloc has not kept what was there"
notices crooked "a block is not aligned"

# What is no malloc is not measured as one.
replay --allocators shmalloc --peer "$dir" && fail "a folder is no peer"
cp "$bin/shmalloc.so" "$dir/libnone.so"
replay --allocators shmalloc --peer "$dir/libnone.so" || :
grep -q "libnone.so is not in use" "$dir/out" || fail "another malloc is measured in its place: $(cat "$dir/out")"
grep -q "^traces,all,time,ns,none," "$dir/csv" && fail "it has a figure all the same"

# Names: two files of one, and one that is there already.
mkdir "$dir/a" "$dir/b"
cp "$bin/libpeer-good.so" "$dir/a/libjemalloc.so.2"
cp "$bin/libpeer-good.so" "$dir/b/libglibc.so"
cp "$bin/libpeer-good.so" "$dir/b/libjemalloc.so.2"
replay --allocators shmalloc --peer "$dir/a/libjemalloc.so.2" --peer "$dir/b/libglibc.so" \
        --peer "$dir/b/libjemalloc.so.2" || fail "$(cat "$dir/out")"
for name in jemalloc.2 glibc-2 jemalloc.2-2; do
        has $name private
done

# refused TEXT   what is in wrong.trace
refused() {
        "$bin/trace-show" "$dir/wrong.trace" >"$dir/out" 2>&1 && fail "not refused: $1"
        grep -q "$1" "$dir/out" || fail "not \"$1\": $(cat "$dir/out")"
}
event $free 0 0 0 >"$dir/wrong.trace"
refused "event 0: the block is not there"
event $realloc 0 1 0 >"$dir/wrong.trace"
refused "event 0: the block is not there"
{
        event $malloc 0 1 0
        event $calloc 0 1 0
} >"$dir/wrong.trace"
refused "event 1: a block's number is in use"
{
        event $malloc 0 1 0
        event $free 0 0 0
        event $free 0 0 0
} >"$dir/wrong.trace"
refused "event 2: the block is not there"
event $malloc 1 1 0 >"$dir/wrong.trace"
refused "event 0: a block's number is larger"
event 5 0 1 0 >"$dir/wrong.trace"
refused "event 0: no such kind"
event $aligned 0 1 3 >"$dir/wrong.trace"
refused "event 0: an alignment"
event $malloc 0 1 0 | head -c 15 >"$dir/wrong.trace"
refused "is no trace"
: >"$dir/wrong.trace"
refused "is no trace"
exit $bad

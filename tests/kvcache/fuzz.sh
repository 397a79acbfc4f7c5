#!/bin/sh
# Compiles the parser of kvcache with libFuzzer, ASan and UBSan, and lets it look for SECONDS.
#
#       fuzz.sh SOURCE_DIR WORK_DIR SECONDS
#
# What it finds is left in WORK_DIR as crash-*, with the inputs that reached new code in WORK_DIR/found.
set -eu
source=$1 work=$2 seconds=$3

clang=$(command -v clang || command -v clang-14) || {
        echo "fuzz.sh: there is no clang: apt-get install clang" >&2
        exit 1
}
mkdir -p "$work/found"
parser=$source/examples/kvcache
"$clang" -std=gnu11 -D_GNU_SOURCE -O1 -gline-tables-only -fno-omit-frame-pointer \
        -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I"$parser" -I"$source/tests/kvcache" \
        "$source/tests/kvcache/fuzz.c" "$source/tests/kvcache/feed.c" "$parser/resp.c" "$parser/number.c" \
        "$parser/buffer.c" "$parser/glob.c" -o "$work/fuzz"
cd "$work"
if ./fuzz -dict="$source/tests/kvcache/fuzz.dict" -max_len=2000 -max_total_time="$seconds" -rss_limit_mb=2000 \
        -timeout=300 -print_final_stats=1 found >log 2>&1; then
        grep -E '^#|^stat::' log | tail -8
else
        tail -60 log
        exit 1
fi

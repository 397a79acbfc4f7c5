#!/bin/sh
# Compiles the library and the fuzzer with libFuzzer, ASan and UBSan, and lets it look for SECONDS.
#
#       fuzz.sh SOURCE_DIR WORK_DIR SECONDS
#
# What it finds is left in WORK_DIR as crash-*, with the inputs that reached new code in WORK_DIR/found.
set -eu
source=$1 work=$2 seconds=$3

clang=
for name in clang clang-14 clang-15 clang-16 clang-17 clang-18 clang-19; do
        if command -v "$name" >/dev/null; then
                clang=$name
                break
        fi
done
if [ -z "$clang" ]; then
        echo "fuzz.sh: there is no clang: apt-get install clang" >&2
        exit 1
fi
mkdir -p "$work/found"
tests=$source/tests
"$clang" -std=gnu11 -D_GNU_SOURCE -O1 -gline-tables-only -fno-omit-frame-pointer \
        -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
        -I"$source/lib" -I"$tests" -I"$source/include" \
        "$source"/lib/*/*.c "$tests"/hostile/fuzz.c "$tests"/hostile/image.c "$tests"/hostile/fields.c \
        "$tests"/hostile/exercise.c "$tests"/hostile/random.c "$tests"/support/heap_dir.c \
        -o "$work/fuzz" -lnuma -lpthread
cd "$work"
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
# The regions' misuse is reported on standard error, many times: only the end matters.
if ./fuzz -max_len=200 -len_control=0 -max_total_time="$seconds" -rss_limit_mb=4000 -timeout=300 -print_final_stats=1 \
        found "$tests/hostile/corpus" >log 2>&1; then
        grep -E '^#|^stat::' log | tail -8
else
        tail -60 log
        exit 1
fi

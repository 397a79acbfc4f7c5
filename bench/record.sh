#!/bin/sh
# Records what a program asks of malloc, to be replayed by the question traces.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")

usage() {
        cat <<END
usage: bench/record.sh [OPTION...] [--] COMMAND [ARGUMENT...]

Runs COMMAND, and writes down each malloc, calloc, realloc, aligned_alloc and free of it and of the programs that it
starts: a trace for each, NAME.trace.zst in the folder, or NAME.trace without zstd; NAME-PID.trace... where a program of
the same name ran more than once. An older trace of that name is replaced. bench/README.md has the format, and what is
recorded of threads and children. To replay them: bench/run.sh --questions traces --traces DIR.

    -n, --only NAME         only programs of this name: of gcc, cc1
    -o, --out DIR           where to write (default: build/timing/bench/recorded)
    -b, --build DIR         where to build the recorder (default: build/timing)
    -l, --library FILE      a recorder that has been built: record.so
    -h, --help              this

It ends with COMMAND's status. The program has to be linked to glibc dynamically, and has to use its malloc.
END
}

die() {
        echo "record.sh: $*" >&2
        exit 2
}

build=$top/build/timing out='' only='' library=''
while [ $# -gt 0 ]; do
        case $1 in
        -n | --only | -o | --out | -b | --build | -l | --library)
                [ $# -ge 2 ] || die "$1 wants an argument; see --help"
                case $1 in
                -n | --only) only=$2 ;;
                -o | --out) out=$2 ;;
                -b | --build) build=$2 ;;
                -l | --library) library=$2 ;;
                esac
                shift
                ;;
        -h | --help)
                usage
                exit 0
                ;;
        --)
                shift
                break
                ;;
        -*) die "there is no option $1; see --help" ;;
        *) break ;;
        esac
        shift
done
[ $# -gt 0 ] || die "a command is missing; see --help"

if [ -z "$library" ]; then
        library=$build/bench/record.so
        log=$(mktemp)
        cmake -S "$top" -B "$build" -DSHMALLOC_TESTS=OFF -DSHMALLOC_EXAMPLES=OFF -DSHMALLOC_BENCH=ON >"$log" 2>&1 &&
                cmake --build "$build" --target bench-record >>"$log" 2>&1 || {
                tail -n 30 "$log" >&2
                die "the recorder cannot be built; all of it is in $log"
        }
        rm -f "$log"
fi
library=$(realpath "$library")
case $library in *[:\ ]*) die "$library: LD_PRELOAD has no way to name a path with a colon or a space" ;; esac
out=${out:-$build/bench/recorded}
mkdir -p "$out"
out=$(cd "$out" && pwd)

# Not there yet, but in the same file system: a recording that is broken off leaves no trace.
new=$(mktemp -d "$out/new-XXXXXX")
trap 'rm -rf "$new"' EXIT
trap 'exit 130' INT TERM
status=0
env RECORD_DIR="$new" ${only:+RECORD_ONLY="$only"} LD_PRELOAD="$library" "$@" || status=$?

n=0
for file in "$new"/*.trace; do
        [ -f "$file" ] || continue
        [ -n "$(head -c 65536 "$file" | tr -d '\0')" ] || continue # it asked for nothing
        name=$(basename "$file" .trace)
        short=$(echo "$name" | sed 's/-[0-9]*\(\.[0-9]*\)\{0,1\}$//')
        set -- "$new/$short"-[0-9]*.trace
        [ $# -gt 1 ] || name=$short
        rm -f "$out/$name.trace" "$out/$name.trace.zst"
        if command -v zstd >/dev/null; then
                zstd -q -9 "$file" -o "$out/$name.trace.zst"
                file=$out/$name.trace.zst
        else
                cp "$file" "$out/$name.trace"
                file=$out/$name.trace
        fi
        echo "$file" >&2
        n=$((n + 1))
done
[ $n -gt 0 ] || die "nothing was recorded${only:+ of a program called $only} (status $status): is it linked statically?"
exit $status

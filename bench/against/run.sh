# A part of ../run.sh, which has read the options and built: runs against, and has its figures judged.
# In: here, build, out, against, rows, rounds, quick, die(), say().  Out: status.

# The library of a build directory, of a prefix, or the file itself.
library_in() {
        if [ -f "$1" ]; then
                echo "$1"
                return
        fi
        for found in "$1/libshmalloc.so" "$1"/lib/libshmalloc.so "$1"/lib64/libshmalloc.so "$1"/lib/*/libshmalloc.so; do
                [ ! -f "$found" ] || {
                        echo "$found"
                        return
                }
        done
}

settings='CMAKE_BUILD_TYPE|CMAKE_C_COMPILER|CMAKE_C_FLAGS(_[A-Z]*)?|SHMALLOC_(DEBUG|SANITIZE|TINY_GEOMETRY)'
# What both were built with; nothing for one that is no build directory.
settings_of() {
        [ ! -f "$1/CMakeCache.txt" ] || grep -E "^($settings):" "$1/CMakeCache.txt" | sed 's/:[A-Z]*=/=/' | sort
}

theirs=$(library_in "$against")
[ -n "$theirs" ] || die "there is no libshmalloc.so in $against: name a build directory, a prefix or the file"
theirs=$(realpath "$theirs")
ours=$(realpath "$build/libshmalloc.so")
command -v valgrind >/dev/null || die "instructions cannot be counted: valgrind is missing"
settings_of "$build" >"$out/settings.ours"
settings_of "$against" >"$out/settings.theirs"
if [ -s "$out/settings.theirs" ] && ! cmp -s "$out/settings.ours" "$out/settings.theirs"; then
        diff "$out/settings.theirs" "$out/settings.ours" >&2 || :
        die "$against and $build were not built alike (see above): what differs would not be the source"
fi
rm -f "$out/settings.ours" "$out/settings.theirs"

# Heaps lie in a directory of their own, so that one of a run that failed goes with it.
scratch=$(mktemp -d /dev/shm/shmalloc-against-XXXXXX)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
status=0
load=$(cut -d' ' -f1 /proc/loadavg)
awk -v load="$load" 'BEGIN { exit !(load > 0.5) }' &&
        say "The machine is busy (load $load): times will be wrong, instructions not"
start=$(date +%s)
"$build/bench/against" --scratch "$scratch" ${quick:+"$quick"} ${rounds:+--rounds "$rounds"} ${rows:+--rows "$rows"} \
        "$ours" "$theirs" >"$out/against.csv" || die "nothing to compare"
took=$(($(date +%s) - start))
awk -F, -f "$here/against/judge.awk" "$out/against.csv" >"$out/against.md" || status=$?
cat "$out/against.md"
say "Theirs: $theirs; written: $out/against.md and against.csv, in $((took / 60)) min $((took % 60)) s"

#!/bin/sh
# clang-tidy has nothing to say of the library and the daemon; .clang-tidy says what it is asked.  By hand: about 5
# minutes of two processors.  Usage: tidy.sh [FILE...]
set -eu
cd "$(dirname "$0")/../.."
tidy=${CLANG_TIDY:-clang-tidy}
command -v "$tidy" >/dev/null || {
        echo "skipped: $tidy is missing (Debian: clang-tidy)"
        exit 77
}
[ $# -gt 0 ] || set -- lib/*/*.c daemon/*/*.c
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
flags=$(pkg-config --cflags libsystemd jansson ncursesw 2>/dev/null || :)
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} sh -c '
        out=$1/$(echo "$2" | tr / _)
        # shellcheck disable=SC2086
        "$3" --quiet "$2" -- -std=gnu11 -D_GNU_SOURCE -DSHMALLOC_VERSION="\"0\"" -Iinclude -Ilib -Idaemon $4 \
                >"$out" 2>"$out.err" || touch "$out.failed"
' sh "$log" {} "$tidy" "$flags" || :
bad=0
for failed in "$log"/*.failed; do
        [ -e "$failed" ] || continue
        bad=1
        grep -hE 'error:|warning:' "${failed%.failed}" || cat "${failed%.failed}.err"
done
[ "$(find "$log" -name '*.err' | wc -l)" -eq $# ] || { echo "not all files were looked at"; bad=1; }
[ "$bad" -eq 0 ] && echo "ok: clang-tidy has nothing to say of $# files"
exit "$bad"

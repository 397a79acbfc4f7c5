#!/bin/sh
# planted.sh SOURCE-DIR PATCH ARCHIVE OBJECT...: applies a planted bug to a copy of the library's source that it is
# about, links it into the crash test, and runs the enumeration that the patch names.  That has to find faults: so we
# know that it can.  CC, CFLAGS and LIBS come from the environment.  A bug in a header names the source file that is
# compiled with it: "In: lib/api/malloc.c".
set -eu
source=$1 patch=$2 archive=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

file=$(sed -n 's|^--- a/||p' "$patch")
compiled=$(sed -n 's/^In: //p' "$patch")
caught_by=$(sed -n 's/^Caught by: //p' "$patch")
mkdir -p "$work/$(dirname "$file")"
cp "$source/$file" "$work/$file"
if ! patch -d "$work" -p1 --no-backup-if-mismatch <"$patch" >"$work/patch.log" 2>&1; then
        cat "$work/patch.log"
        echo "The planted bug does not fit the source any more: plant it anew in $patch"
        exit 1
fi
[ -n "$compiled" ] && compiled=$source/$compiled || compiled=$work/$file
# The options are several words each.
# shellcheck disable=SC2086
$CC $CFLAGS -I"$work/lib" -I"$source/lib" -I"$source/include" -c "$compiled" -o "$work/mutant.o"
# shellcheck disable=SC2086
$CC -o "$work/crash" "$@" "$work/mutant.o" "$archive" $LIBS
status=0
# shellcheck disable=SC2086
"$work/crash" $caught_by >"$work/out" 2>&1 || status=$?
head -n 20 "$work/out"
if [ $status -ne 1 ]; then
        echo "The planted bug was not found: \"crash $caught_by\" ended with status $status"
        exit 1
fi

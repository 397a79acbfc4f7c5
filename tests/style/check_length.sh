#!/bin/sh
# No file of lib/, daemon/, bench/ or examples/ and no test is longer than 800 lines.
. "$(dirname "$0")/common.sh"

max_lines=800
set -- $(files "c h" lib daemon bench examples) $(files "c h" tests | grep '/test_[^/]*$')
for file in "$@"; do
        lines=$(wc -l <"$file")
        [ "$lines" -le $max_lines ] || violation "$file:$lines: longer than $max_lines lines"
done
finish "$# files of at most $max_lines lines"

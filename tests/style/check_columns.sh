#!/bin/sh
# No line is longer than 120 columns, but for rows of tables in documents, where one cannot be broken, and for
# tests/modules.txt, which has one for each module.
. "$(dirname "$0")/common.sh"

max_columns=120
set -- $(files "c h cpp sh cmake awk py pml md" lib include daemon tests bench examples cmake doc) \
        $(files txt bench) \
        $(find daemon tests bench examples -name CMakeLists.txt 2>/dev/null | LC_ALL=C sort)
for file in *.md *.sh CMakeLists.txt; do
        [ ! -f "$file" ] || set -- "$@" "$file"
done
[ $# -gt 0 ] || finish "no sources"
# Columns are characters: bytes but for those that continue one.
LC_ALL=C awk -v max_columns=$max_columns '
FILENAME ~ /\.md$/ && /^\|/ { next }
length($0) > max_columns {
        line = $0
        gsub(/[\200-\277]/, "", line)
        if (length(line) > max_columns)
                print FILENAME ":" FNR ": " length(line) " columns"
}' "$@" | violation
finish "$# files of at most $max_columns columns"

#!/bin/sh
# The functions declared with SHA_API in the public header, the names in lib/shmalloc.map, the symbols that the shared
# library exports, those that the static one leaves visible and those of its Debian package are one list.  All begin
# with shheap_, so that no other library's are taken for them: a function of another name has its symbol from SHA_SHORT.
. "$(dirname "$0")/common.sh"

header=include/shmalloc/shmalloc.h
map=lib/shmalloc.map
so=${SHMALLOC_SO:?names the shared library}
a=${SHMALLOC_A:?names the static library}
symbols=debian/libshmalloc0.symbols
nm=${NM:-nm}

# Declarations, one a line, without attributes: SHA_X(...) with one more level of parentheses inside, SHA_X.
code "$header" | sed 's/^[^:]*:[^:]*://; /^[ \t]*#/d' | tr '\n' ' ' | tr ';{}' '\n\n\n' | awk '
/SHA_API/ {
        short = ""
        if (match($0, /SHA_SHORT\([A-Za-z0-9_]*\)/))
                short = substr($0, RSTART + 10, RLENGTH - 11)
        gsub(/SHA_[A-Z_]+[ \t]*\(([^()]|\([^()]*\))*\)/, "")
        gsub(/SHA_[A-Z_]+/, "")
        if (match($0, /[A-Za-z_][A-Za-z0-9_]*[ \t]*\(/)) {
                name = substr($0, RSTART, RLENGTH)
                sub(/[ \t]*\(/, "", name)
                print (short == name ? "shheap_" : "") name
        }
}' | LC_ALL=C sort -u >"$tmp/header"
grep -v '^shheap_' "$tmp/header" |
        sed "s,.*,$header: & has no SHA_SHORT(&): another library may have its symbol," | violation

sed 's,/\*.*\*/,,; s/#.*//' "$map" | awk '
/global:/ { on = 1; next }
/local:/  { on = 0 }
on        { gsub(/[ \t;]/, ""); if ($0 != "") print }' | LC_ALL=C sort >"$tmp/map"

"$nm" -D --defined-only "$so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | LC_ALL=C sort -u >"$tmp/so"
"$nm" -g --defined-only "$a" | awk 'NF == 3 { print $3 }' | LC_ALL=C sort -u >"$tmp/a"

[ -s "$tmp/header" ] || violation "$header: declares nothing with SHA_API"

# compare LIST NAME   with the header's
compare() {
        LC_ALL=C comm -23 "$tmp/header" "$tmp/$1" |
                sed "s,.*,$header: & is declared here but missing in $2," | violation
        LC_ALL=C comm -13 "$tmp/header" "$tmp/$1" |
                sed "s,.*,$2: & is not declared with SHA_API in $header," | violation
}
compare map "$map"
compare so "$(basename "$so")"
compare a "$(basename "$a")"
if [ -f "$symbols" ]; then
        sed -n 's/^ \(.*\)@SHMALLOC_[0-9.]* [0-9.]*$/\1/p' "$symbols" | grep -v '^SHMALLOC_' |
                LC_ALL=C sort >"$tmp/symbols"
        compare symbols "$symbols"
fi
finish "$(wc -l <"$tmp/header") exported functions"

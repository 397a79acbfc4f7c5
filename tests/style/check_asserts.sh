#!/bin/sh
# The library says what it relies on: for 10 functions of lib/ there are at least 4 assertions, ASSERT* or CHECK*.
# Those that compare a name with NULL, or nothing at all, are not counted.  Prints the figures, folder by folder.
# An assertion is a statement of its own, never the body of a condition: put between a condition without braces and
# its body it would take that one's place, and builds that do not assert would go on where they must not.
. "$(dirname "$0")/common.sh"

per_ten=${ASSERTS_PER_TEN:-4}
set -- $(files "c h" lib)
[ $# -gt 0 ] || finish "no files in lib/"

code "$@" | awk '
{
        split($0, place, ":")
        where = place[1] ":" place[2]
        text = substr($0, length(where ":") + 1)
        if (text ~ /^[ \t]*$/)
                next
        if (place[1] == file && text ~ /^[ \t]*(ASSERT|CHECK)[A-Z_]*\(/ && before !~ /[;{}:][ \t]*$|^[ \t]*#|\\[ \t]*$/)
                print where ": an assertion is the body of the line before it"
        file = place[1]
        before = text
}' >>"$tmp/violations"

code "$@" | awk '
{
        split($0, place, ":")
        split(place[1], folder, "/")
        text = substr($0, length(place[1] ":" place[2] ":") + 1)
        is_define = continues || text ~ /^[ \t]*#/
        continues = is_define && text ~ /\\$/
        if (is_define)
                next
        while (match(text, /(^|[^A-Za-z_])(ASSERT|CHECK)[A-Z_]*\(/)) {
                name = substr(text, RSTART, RLENGTH)
                text = substr(text, RSTART + RLENGTH)
                said = text
                if (name ~ /ASSERT_INVARIANT/)
                        sub(/^[ \t]*I[0-9]+,[ \t]*/, "", said)
                if (said ~ /^[ \t]*!?(\(?NULL|true|false|[0-9]+)[^A-Za-z_<>=!&|+*-]*;?$/ ||
                    said ~ /^[ \t]*!?[A-Za-z_][A-Za-z0-9_.>-]*([ \t]*!= *NULL)?\);?$/)
                        continue
                n[folder[2]]++
        }
}
END {
        for (f in n)
                print f, n[f]
}' | LC_ALL=C sort >"$tmp/asserts"
"${CTAGS:-ctags}" -x --c-kinds=f "$@" | awk '
{
        # NAME function LINE FILE TEXT
        split($4, folder, "/")
        n[folder[2]]++
}
END {
        for (f in n)
                print f, n[f]
}' | LC_ALL=C sort >"$tmp/functions"
[ -s "$tmp/functions" ] || violation "lib: ctags finds no function"

LC_ALL=C join -a 1 -e 0 -o 0,1.2,2.2 "$tmp/functions" "$tmp/asserts" >"$tmp/both"
awk -v per_ten="$per_ten" '
{
        printf "%-8s %5d functions %5d assertions %6.2f\n", $1, $2, $3, $3 / $2
        functions += $2
        asserts += $3
}
END {
        printf "%-8s %5d functions %5d assertions %6.2f\n", "lib", functions, asserts,
                functions ? asserts / functions : 0
        if (asserts * 10 < functions * per_ten)
                print "lib: fewer than " per_ten " assertions for 10 functions" >"/dev/stderr"
}' "$tmp/both" 2>>"$tmp/violations"
finish "$# files say what they rely on"

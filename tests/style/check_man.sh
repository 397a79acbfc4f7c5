#!/bin/sh
# Each function of the public header has a manual page of section 3 that names it, one only, with the prototype that it
# has in the header; a page names what its synopsis has; shmalloc(7) lists all of them.  Each of these pages has all
# sections, so that nobody needs the header beside it.  What pages refer to (.Xr) is there, where it is ours.
. "$(dirname "$0")/common.sh"

header=include/shmalloc/shmalloc.h
sections='NAME LIBRARY SYNOPSIS DESCRIPTION RETURN_VALUES EXAMPLES ERRORS THREADS_AND_SIGNALS DEATH SEE_ALSO'

# Prototypes in one form: blanks only where two words would be one.
normal='s/[ \t][ \t]*/ /g; s/ *\([][(),*]\) */\1/g; s/^ //; s/ $//'

code "$header" | sed 's/^[^:]*:[^:]*://; /^[ \t]*#/d' | tr '\n' ' ' | tr ';{}' '\n\n\n' | awk '
/SHA_API/ {
        gsub(/SHA_[A-Z_]+[ \t]*\(([^()]|\([^()]*\))*\)/, "")
        gsub(/SHA_[A-Z_]+/, "")
        print
}' | sed "$normal" | LC_ALL=C sort -u >"$tmp/header"

# Prototypes, "page: names NAME" and "page: has SECTION" of each page.
for page in doc/man/*.3; do
        [ -f "$page" ] || continue
        awk -v page="$page" -v prototypes="$tmp/prototypes" -v names="$tmp/names" -v has="$tmp/has" '
        /^\.Sh / {
                section = substr($0, 5)
                gsub(/ /, "_", section)
                print page " " section >>has
        }
        section == "NAME" && /^\.Nm / { print $2 " " page >>names }
        section == "SYNOPSIS" && /^\.Ft / {
                type = substr($0, 5)
                gsub(/"/, "", type)
        }
        section == "SYNOPSIS" && /^\.Fn / {
                arguments = ""
                rest = substr($0, length($1 " " $2) + 1)
                while (match(rest, /"[^"]*"|[^ "]+/)) {
                        argument = substr(rest, RSTART, RLENGTH)
                        rest = substr(rest, RSTART + RLENGTH)
                        gsub(/"/, "", argument)
                        arguments = arguments (arguments != "" ? "," : "") argument
                }
                print type " " $2 "(" arguments ")" >>prototypes
                print $2 " " page >>(names ".synopsis")
        }' "$page"
        for section in $sections; do
                grep -qxF "$page $section" "$tmp/has" || violation "$page: has no section $(echo "$section" | tr _ ' ')"
        done
done
touch "$tmp/prototypes" "$tmp/names" "$tmp/names.synopsis"
sed "$normal" "$tmp/prototypes" | LC_ALL=C sort -u >"$tmp/pages"
LC_ALL=C comm -23 "$tmp/header" "$tmp/pages" | sed "s,^,$header: no manual page has this prototype: ," | violation
LC_ALL=C comm -13 "$tmp/header" "$tmp/pages" | sed "s,\$,: no such prototype in $header," | sed 's,^,doc/man: ,' |
        violation
LC_ALL=C sort "$tmp/names" >"$tmp/names.sorted"
LC_ALL=C sort "$tmp/names.synopsis" >"$tmp/synopsis.sorted"
LC_ALL=C comm -23 "$tmp/names.sorted" "$tmp/synopsis.sorted" |
        sed 's/^\([^ ]*\) \(.*\)/\2: names \1, which is not in its synopsis/' | violation
LC_ALL=C comm -13 "$tmp/names.sorted" "$tmp/synopsis.sorted" |
        sed 's/^\([^ ]*\) \(.*\)/\2: does not name \1, which is in its synopsis/' | violation
cut -d' ' -f1 "$tmp/names.sorted" | LC_ALL=C uniq -d | sed 's/^/doc\/man: two pages name /' | violation
cut -d' ' -f1 "$tmp/names.sorted" | while read -r name; do
        grep -qE "^\.(Fn|Xr) $name( |\$)" doc/man/shmalloc.7 2>"$tmp/messages" ||
                violation "doc/man/shmalloc.7: does not list $name"
done

# Ours are shheap..., shm... and what the tools have.
grep -n '^\.Xr sh' doc/man/* 2>"$tmp/messages" | while IFS=: read -r page line macro; do
        set -- $macro
        [ "$2" != shm_overview ] || continue
        [ -f "doc/man/$2.$3" ] || grep -qE "^$2 doc/man/.*\.$3\$" "$tmp/names.sorted" ||
                violation "$page:$line: there is no $2($3)"
done
finish "$(wc -l <"$tmp/header") functions have their manual pages"

#!/bin/sh
# No call of the library is a cancellation point: none of tests/style/cancellation_points.txt is called in lib/, except
# where tests/style/allowed_points.txt says so and why.  System calls of these names are made by lib/os/syscall.h.
. "$(dirname "$0")/common.sh"

set -- $(files "c h" lib)
[ $# -gt 0 ] || finish "no files in lib/"
allowed=${ALLOWED_POINTS:-$style_dir/allowed_points.txt}

code "$@" | awk -v allowed="$allowed" -v points="$style_dir/cancellation_points.txt" '
BEGIN {
        while ((getline line < points) > 0) {
                if (line ~ /^[ \t]*(#|$)/)
                        continue
                n = split(line, word, " ")
                for (i = 1; i <= n; i++)
                        point[word[i]] = ++n_points
        }
        if (n_points < 200)
                print points ": only " n_points + 0 " names"
        while ((getline line < allowed) > 0) {
                if (line ~ /^[ \t]*(#|$)/)
                        continue
                split(line, word, " ")
                ok[word[1], word[2]] = allowed ": " line
        }
}
{
        split($0, place, ":")
        where = place[1] ":" place[2]
        text = substr($0, length(where) + 2)
        if (text ~ /^[ \t]*#[ \t]*include/)
                next
        while (match(text, /[A-Za-z_][A-Za-z0-9_]*/)) {
                name = substr(text, RSTART, RLENGTH)
                before = substr(text, 1, RSTART - 1)
                text = substr(text, RSTART + RLENGTH)
                if (!(name in point) || text !~ /^[ \t]*\(/ || before ~ /(\.|->)[ \t]*$/)
                        continue
                used[place[1], name] = 1
                if (!((place[1], name) in ok))
                        print where ": " name " is a cancellation point: use lib/os/syscall.h, lib/os/print.h or a shield"
        }
}
END {
        for (key in ok)
                if (!(key in used))
                        print ok[key] ": this exception is not needed"
}' | violation
finish "$# files are no place where a cancelled thread ends"

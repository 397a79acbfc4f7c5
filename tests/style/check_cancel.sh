#!/bin/sh
# No call of the library is a cancellation point: none of tests/style/cancellation_points.txt is called in lib/, except
# where tests/style/allowed_points.txt says so and why.  System calls of these names are made by lib/os/syscall.h.
. "$(dirname "$0")/common.sh"

set -- $(files "c h" lib)
[ $# -gt 0 ] || finish "no files in lib/"

calls "${ALLOWED_POINTS:-$style_dir/allowed_points.txt}" '
function setup() {
        points = style_dir "/cancellation_points.txt"
        while ((getline line < points) > 0) {
                if (line ~ /^[ \t]*(#|$)/)
                        continue
                n = split(line, word, " ")
                for (i = 1; i <= n; i++)
                        point[word[i]] = ++n_points
        }
        if (n_points < 200)
                print points ": only " n_points + 0 " names"
}
function look(name, is_call) {
        if (name in point && is_call)
                forbid(name, "is a cancellation point: use lib/os/syscall.h, lib/os/print.h or a shield")
}
function at_end() {}' "$@"
finish "$# files are no place where a cancelled thread ends"

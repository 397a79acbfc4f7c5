#!/bin/sh
# Every release has an acquire and the other way round: a label "E7.rel:" in a comment of lib/ needs an "E7.acq:"
# and a row "| E7 | ..." in doc/memory-ordering.md; a row needs its labels.  A label opens its comment or has a
# colon after it; labels may share these: "E3.acq, E4.rel: ...".  Elsewhere "E7.rel" is a mention, which needs both
# labels as well, and so is "E7" in a comment of lib/ or anywhere in doc/.  Where a label stands, an access that
# acquires or releases is within a few lines.
. "$(dirname "$0")/common.sh"

doc=doc/memory-ordering.md
set -- $(files "c h" lib)
[ $# -gt 0 ] || finish "no files in lib/"

rows=$doc
[ -f "$doc" ] || rows=/dev/null
# shellcheck disable=SC2046
awk -v doc="$doc" '
FILENAME == doc || FILENAME == "/dev/null" {
        if (match($0, /^\|[ \t]*[*`]*E[0-9]+[*`]*[ \t]*\|/)) {
                edge = substr($0, RSTART, RLENGTH)
                gsub(/[^E0-9]/, "", edge)
                row[edge] = FILENAME ":" FNR
        }
        next
}
{
        rest = $0
        while (match(rest, /(^|[^A-Za-z0-9_.])E[0-9]+($|[^A-Za-z0-9_])/)) {
                edge = substr(rest, RSTART, RLENGTH)
                rest = substr(rest, RSTART + RLENGTH - 1)
                gsub(/[^E0-9]/, "", edge)
                if (FILENAME ~ /^doc\// && !(edge in mentioned))
                        mentioned[edge] = FILENAME ":" FNR
                else if (FILENAME !~ /^doc\// && !(edge in seen))
                        seen[edge] = FILENAME ":" FNR
        }
        if (FILENAME ~ /^doc\//)
                next
        if (FNR == 1)
                look_around()
        file = FILENAME
        line[FNR] = $0
        rest = $0
        before = ""     # what of the line stands before the label
        while (match(rest, /E[0-9]+\.(rel|acq)/)) {
                label = substr(rest, RSTART, RLENGTH)
                edge = substr(label, 1, index(label, ".") - 1)
                is_word = RSTART == 1 || substr(rest, RSTART - 1, 1) !~ /[A-Za-z0-9_]/
                before = before substr(rest, 1, RSTART - 1)
                opens = before ~ /\/\*[ \t]*(E[0-9]+\.(rel|acq)(,| and|\/) *)*$/
                before = before label
                rest = substr(rest, RSTART + RLENGTH)
                if (!is_word)
                        continue
                if (!(edge in seen))
                        seen[edge] = FILENAME ":" FNR
                if (opens || rest ~ /^((,| and|\/) *E[0-9]+\.(rel|acq))*:/)
                        defined[label] = place[++n_places] = FNR
        }
}
# What the file before has at its labels.
function look_around(   i, k, has) {
        for (i = 1; i <= n_places; i++) {
                has = 0
                for (k = place[i] - 4; k <= place[i] + 6; k++)
                        if (line[k] ~ /(acquire|release|acq_rel)[a-z0-9_]*\(|owner_[a-z_]+\(/)
                                has = 1
                if (!has)
                        print file ":" place[i] ": an edge, and nothing near it acquires or releases"
        }
        n_places = 0
        split("", line)
}
END {
        look_around()
        for (edge in seen) {
                if (!((edge ".rel") in defined))
                        print seen[edge] ": " edge " has no release: no \"" edge ".rel:\" in lib/"
                if (!((edge ".acq") in defined))
                        print seen[edge] ": " edge " has no acquire: no \"" edge ".acq:\" in lib/"
                if (!(edge in row))
                        print seen[edge] ": " edge " has no row in " doc
        }
        for (edge in mentioned)
                if (!(edge in row))
                        print mentioned[edge] ": " edge " has no row in " doc
        for (edge in row)
                if (!(edge in seen))
                        print row[edge] ": " edge " has no label in lib/"
}' "$rows" "$@" $(files md doc | grep -vx "$doc") | LC_ALL=C sort | violation
finish "every edge has both its ends and its row"

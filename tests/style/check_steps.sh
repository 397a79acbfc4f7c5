#!/bin/sh
# Each step of an operation that a death may cut short has one row in one table and a label in the code.  Tables
# stand in doc/recovery.md, as "| FILL.3 ... |", and in the head of a file of lib/, as ".3 ..." below a line that
# begins with FILL, or as "FILL.3 ..."; a row may hold several: "FILL.1, .2".  A label opens a comment below the
# head: "FILL.8, .9: ...", or "DRAIN.7, FILL.8 to .9".  Elsewhere "FILL.3" is a mention.  Steps are numbered from 1,
# and whatever is mentioned in lib/, tests/, daemon/ or doc/ has its row.  Each operation has a place in a table of
# doc/README.md.
. "$(dirname "$0")/common.sh"

doc=doc/recovery.md
set -- $(files "c h" lib)
[ $# -gt 0 ] || finish "no files in lib/"
[ -f "$doc" ] || doc=/dev/null

awk -v doc="$doc" '
# Takes the steps at the start of text: "FILL.1, .2 and DRAIN.3 to .5".  They are in list[1..n]; returns n.  The
# operation before it is `op`.
function take(text,    n, number, i, joined) {
        n = 0
        joined = ""
        while (match(text, /^[A-Z][A-Z_]+[A-Z]\.[0-9]+|^\.[0-9]+/)) {
                number = substr(text, RSTART, RLENGTH)
                text = substr(text, RSTART + RLENGTH)
                if (number !~ /^\./) {
                        op = number
                        sub(/\..*/, "", op)
                }
                sub(/.*\./, "", number)
                if (joined ~ /to/)
                        for (i = last + 1; i < number + 0; i++)
                                list[++n] = op "." i
                last = number + 0
                list[++n] = op "." last
                if (!match(text, /^(,? and |, | to |: | )/))
                        break
                joined = substr(text, 1, RLENGTH)
                text = substr(text, RLENGTH + 1)
        }
        return n
}
function define(text, where,    n, i) {
        n = take(text)
        for (i = 1; i <= n; i++) {
                if (list[i] in row)
                        print where ": " list[i] " has a row already: " row[list[i]]
                else
                        row[list[i]] = where
        }
        return n
}
FNR == 1 { is_head = FILENAME ~ /\.[ch]$/; in_comment = 0; op = "" }
FILENAME == doc {
        if (match($0, /^\| *\(?[A-Z][A-Z_]+[A-Z]\.[0-9]+/)) {
                sub(/^\| *\(?/, "")
                define($0, FILENAME ":" FNR)
        }
        next
}
is_head {
        text = $0
        sub(/^ \*[ \t]*/, "", text)
        if ($0 ~ /^ \*( ? ? ? ?[A-Z][A-Z_]+[A-Z]|  +)\.[0-9]+[ ,]/) # further in stands a drawing
                define(text, FILENAME ":" FNR)
        else if (match(text, /^[A-Z][A-Z_]+[A-Z]( *$|,|  | \()/)) {
                op = text
                sub(/[^A-Z_].*/, "", op)
        }
        if ($0 ~ /\*\//)
                is_head = 0
        next
}
{
        rest = $0
        gsub(/E[0-9]+\.(rel|acq)(, |: )/, "", rest)
        while (match(rest, /\/\*+ *([A-Z][A-Z_]+[A-Z]\.[0-9]+)/)) {
                text = substr(rest, RSTART, RLENGTH)
                rest = substr(rest, RSTART + RLENGTH)
                sub(/^\/\*+ */, "", text)
                n = take(text rest)
                for (i = 1; i <= n; i++)
                        label[list[i]] = FILENAME ":" FNR
        }
}
END {
        for (step in row) {
                print "row " step " " row[step] >"'"$tmp"'/rows"
                if (!(step in label))
                        print row[step] ": " step " has no label in lib/"
                op = step
                number = step
                sub(/\..*/, "", op)
                sub(/.*\./, "", number)
                if (number > 1 && !((op "." (number - 1)) in row))
                        print row[step] ": " step " without " op "." (number - 1)
        }
        for (step in label)
                if (!(step in row))
                        print label[step] ": " step " has no row, neither in doc/recovery.md nor in the head of a file"
}' "$doc" "$@" | LC_ALL=C sort | violation

: >>"$tmp/rows"
set -- $(files "c h md sh pml" lib tests daemon doc | grep -v "^tests/style/")
awk '
FILENAME ~ /\/rows$/ { row[$2] = 1; sub(/\..*/, "", $2); operation[$2] = 1; next }
{
        rest = $0
        while (match(rest, /[A-Z][A-Z_]+[A-Z]\.([0-9]+|n($|[^A-Za-z0-9_]))/)) {
                step = substr(rest, RSTART, RLENGTH)
                before = RSTART > 1 ? substr(rest, RSTART - 1, 1) : " "
                rest = substr(rest, RSTART + RLENGTH)
                op = step
                sub(/\..*/, "", op)
                if (before ~ /[A-Za-z0-9_]/)
                        continue
                if (step ~ /\.n/ && !(op in operation))
                        print FILENAME ":" FNR ": " op ".n is mentioned, and has no rows"
                if (step ~ /\.n/)
                        continue
                if (!(step in row))
                        print FILENAME ":" FNR ": " step " is mentioned, and has no row"
                while (match(rest, /^(, and |, | and | to | or | before | behind )\.[0-9]+/)) { # "RUN.1, .2"
                        step = substr(rest, 1, RLENGTH)
                        rest = substr(rest, RLENGTH + 1)
                        sub(/.*\./, op ".", step)
                        if (!(step in row))
                                print FILENAME ":" FNR ": " step " is mentioned, and has no row"
                }
        }
}' "$tmp/rows" "$@" | LC_ALL=C sort | violation

index=doc/README.md
[ -f "$index" ] || index=/dev/null
awk '
FILENAME ~ /\/rows$/ { sub(/\..*/, "", $2); row[$2] = row[$2] == "" ? $3 : row[$2]; next }
/^\|/ {
        gsub(/[^A-Z_]+/, " ")
        n = split($0, word, " ")
        for (i = 1; i <= n; i++)
                named[word[i]] = 1
}
END {
        for (op in row)
                if (!(op in named))
                        print row[op] ": " op " has no place in a table of doc/README.md"
}' "$tmp/rows" "$index" | LC_ALL=C sort | violation
finish "$(wc -l <"$tmp/rows") steps have their rows and their labels"

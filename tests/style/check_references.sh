#!/bin/sh
# What comments and documents refer to is there: a file by the end of its path ("slab.c", "blocks/slab.c"), a
# decision by its number ("decision 11"), a part of a document by its heading ('"The intents" in doc/recovery.md').
# Documents have names of files and headings, not names in capitals and numbers of sections.
. "$(dirname "$0")/common.sh"

# Files of others.
elsewhere="shmem.h linux/futex.h linux/pidfd.h properties.cmake"

set -- $(files "c h" lib include daemon tests bench)
[ $# -gt 0 ] || finish "no sources"
find . -path ./.git -prune -o -path './build*' -prune -o -type f -print | sed 's,^\./,,' >"$tmp/files"
sed -n 's,^doc/decisions/0*\([0-9]*\)-.*,\1,p' "$tmp/files" >"$tmp/decisions"
# shellcheck disable=SC2046
grep -H '^#' $(files md doc) /dev/null >"$tmp/headings" || true

# Comments of sources, and documents whole, but for what was: each line as file:line:text.
{
        awk '
        FNR == 1 { in_comment = 0 }
        {
                rest = $0
                out = ""
                if (!in_comment && rest ~ /^[ \t]*#[ \t]*include/)
                        next
                while (rest != "") {
                        if (in_comment) {
                                end = index(rest, "*/")
                                out = out " " (end ? substr(rest, 1, end - 1) : rest)
                                rest = end ? substr(rest, end + 2) : ""
                                in_comment = !end
                        } else {
                                start = index(rest, "/*")
                                rest = start ? substr(rest, start + 2) : ""
                                in_comment = start > 0
                        }
                }
                if (out != "")
                        print FILENAME ":" FNR ":" out
        }' "$@"
        # shellcheck disable=SC2046
        grep -n '' $(files md doc daemon tests bench) /dev/null
} >"$tmp/text"

awk -v elsewhere="$elsewhere" '
FILENAME ~ /\/files$/ {
        n = split($0, part, "/")
        tail = ""
        for (i = n; i >= 1; i--) {
                tail = i == n ? part[i] : part[i] "/" tail
                path[tail] = 1
        }
        next
}
FILENAME ~ /\/decisions$/ { decision[$1] = 1; next }
FILENAME ~ /\/headings$/ {
        document = $0
        sub(/:.*/, "", document)
        title = substr($0, length(document) + 2)
        sub(/^#+ */, "", title)
        heading[document, title] = 1
        next
}
FNR == 1 {
        n = split(elsewhere, part, " ")
        for (i = 1; i <= n; i++)
                path[part[i]] = path["/" part[i]] = 1
}
{
        split($0, place, ":")
        where = place[1] ":" place[2]
        text = substr($0, length(where) + 2)
        rest = text
        while (match(rest, /[A-Za-z0-9_.\/*<-]*[A-Za-z0-9_]\.(c|h|md|sh|pml|map|cmake)/)) {
                file = substr(rest, RSTART, RLENGTH)
                rest = substr(rest, RSTART + RLENGTH)
                if (rest ~ /^[A-Za-z0-9_(]/ || file ~ /[*<]|^build|^\/|NAME/)
                        continue
                sub(/^(\.\.?\/)+/, "", file)
                if (!(file in path))
                        print where ": there is no file " file
        }
        rest = text
        while (match(rest, /[Dd]ecisions?[ \/]+[0-9]+/)) {
                number = substr(rest, RSTART, RLENGTH)
                rest = substr(rest, RSTART + RLENGTH)
                gsub(/[^0-9]/, "", number)
                if (!((number + 0) in decision))
                        print where ": there is no decision " number + 0
        }
        rest = text
        while (match(rest, /"[^"]+" in doc\/[a-z-]+\.md/)) {
                title = substr(rest, RSTART + 1, RLENGTH - 1)
                rest = substr(rest, RSTART + RLENGTH)
                document = title
                sub(/.*" in /, "", document)
                sub(/".*/, "", title)
                if (!((document, title) in heading))
                        print where ": " document " has no heading \"" title "\""
        }
        if (match(text, /(^|[^A-Za-z_])(DESIGN|LAYOUT|RECOVERY|PROOF|STATUS)(:|.s section| section)/) ||
            (where !~ /^(doc|tests|bench)\// && match(text, /[Ss]ection [0-9]/)))
                print where ": \"" substr(text, RSTART, RLENGTH) "\" leads nowhere: a file, and a heading in quotes"
}' "$tmp/files" "$tmp/decisions" "$tmp/headings" "$tmp/text" | LC_ALL=C sort -u | violation
finish "what $(wc -l <"$tmp/text") lines of comments and documents refer to is there"

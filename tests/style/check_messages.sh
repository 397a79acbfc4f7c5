#!/bin/sh
# Every message of the library is found in doc/troubleshooting.md: what error_set() and its kin say, why parameters are
# rejected, what the system's refusals are annotated with, and the lines about misuse.  A line of the document has the
# fixed parts of the message, in their order, with words of its own where the message has a number or a name.
. "$(dirname "$0")/common.sh"

document=doc/troubleshooting.md
[ -d lib ] || finish "no library"

# shellcheck disable=SC2046
awk '
# The rest of a call from its first argument on, over as many lines as it takes: true when it is complete.
function gather(text,    i, c) {
        for (i = 1; i <= length(text); i++) {
                c = substr(text, i, 1)
                call = call c
                if (in_string) {
                        if (c == "\\")
                                call = call substr(text, ++i, 1)
                        else if (c == "\"")
                                in_string = 0
                } else if (c == "\"") {
                        in_string = 1
                } else if (c == "(") {
                        depth++
                } else if (c == ")" && --depth == 0) {
                        return 1
                }
        }
        call = call " "
        return 0
}
# The first string of it, with those behind it that it is pasted together with.
function format_of(text,    out) {
        if (!match(text, /"/))
                return ""
        text = substr(text, RSTART)
        while (match(text, /^"([^"\\]|\\.)*"[ \t]*(PRI[a-z0-9]+[ \t]*)?/)) {
                literal = substr(text, 1, RLENGTH)
                text = substr(text, RLENGTH + 1)
                has_macro = literal ~ /PRI[a-z0-9]+[ \t]*$/
                sub(/[ \t]*(PRI[a-z0-9]+[ \t]*)?$/, "", literal)
                out = out substr(literal, 2, length(literal) - 2) (has_macro ? "u" : "")
        }
        gsub(/\\"/, "\"", out)
        return out
}
FNR == 1 { depth = 0 }
/^(static )?(const char \*)?(hint_of|name_of)\(/ { in_texts = 1 }
/^}/ { in_texts = 0 }
depth == 0 && in_texts && /return "/ { print FILENAME ":" FNR ":" format_of($0); next }
depth == 0 && match($0, /(^|[^a-z_])(error_set|error_set_refused|error_append|reject|damaged|say)\(/) {
        place = FILENAME ":" FNR
        call = ""
        in_string = 0
        depth = 1
        if (gather(substr($0, RSTART + RLENGTH)))
                print place ":" format_of(call)
        next
}
depth > 0 && gather($0) { print place ":" format_of(call) }
' $(files c lib) >"$tmp/messages"

awk -v document="$document" '
BEGIN {
        while ((getline line < document) > 0)
                said[++n] = line
}
{
        split($0, place, ":")
        where = place[1] ":" place[2]
        text = substr($0, length(where) + 2)
        n_parts = split(text, part, /%[-#0-9.*]*[lhzj]*[a-zA-Z]/)
        bare = text
        gsub(/%[-#0-9.*]*[lhzj]*[a-zA-Z]/, "", bare)
        if (bare !~ /[a-z][a-z]/)
                next # nothing of its own
        for (i = 1; i <= n; i++) {
                rest = said[i]
                for (k = 1; k <= n_parts; k++) {
                        at = index(rest, part[k])
                        if (at == 0)
                                break
                        rest = substr(rest, at + length(part[k]))
                }
                if (k > n_parts)
                        next
        }
        print where ": not in " document ": " text
}' "$tmp/messages" | violation
finish "$(wc -l <"$tmp/messages") messages are in $document"

# What the checks share.  A check is started as  check_<rule>.sh SOURCE_DIR,  prints each violation as
# file:line: what is wrong, and ends with status 1 if there was any.
# shellcheck shell=sh
set -eu
style_dir=$(cd "$(dirname "$0")" && pwd)
cd "${1:?usage: $0 SOURCE_DIR}"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
: >"$tmp/violations"

# files SUFFIXES FOLDER...   the files with one of these suffixes (a list in one word) below those folders, sorted
files() {
        files_suffixes=$1
        shift
        for folder in "$@"; do
                [ -d "$folder" ] || continue
                for suffix in $files_suffixes; do
                        find "$folder" -type f -name "*.$suffix"
                done
        done | LC_ALL=C sort
}

# code FILE...   prints file:line:text with comments blanked and strings emptied
code() {
        awk -f "$style_dir/strip.awk" "$@"
}

# calls ALLOWED RULE FILE...   looks at each name in the code by an awk program RULE, which defines
#   setup()               before the first line
#   look(name, is_call)   for each name; says forbid(name, why) of those that are not allowed, but for the exceptions in
#                         the file ALLOWED (lines of FILE NAME REASON); `where` is file:line
#   at_end()              behind the last line
# An exception that is not needed is a violation, too.
calls() {
        calls_allowed=$1
        calls_rule=$2
        shift 2
        code "$@" | awk -v allowed="$calls_allowed" -v style_dir="$style_dir" '
function forbid(name, why) {
        used[file, name] = 1
        if (!((file, name) in ok))
                print where ": " name " " why
}
BEGIN {
        while ((getline line < allowed) > 0) {
                if (line ~ /^[ \t]*(#|$)/)
                        continue
                split(line, word, " ")
                ok[word[1], word[2]] = allowed ": " line
        }
        setup()
}
{
        split($0, place, ":")
        file = place[1]
        where = file ":" place[2]
        text = substr($0, length(where) + 2)
        if (text ~ /^[ \t]*#[ \t]*include/)
                next
        while (match(text, /[A-Za-z_][A-Za-z0-9_]*/)) {
                name = substr(text, RSTART, RLENGTH)
                before = substr(text, 1, RSTART - 1)
                text = substr(text, RSTART + RLENGTH)
                look(name, text ~ /^[ \t]*\(/ && before !~ /(\.|->)[ \t]*$/)
        }
}
END {
        for (key in ok)
                if (!(key in used))
                        print ok[key] ": this exception is not needed"
        at_end()
}
'"$calls_rule" | violation
}

# violation TEXT   or, without an argument, each line of standard input
violation() {
        if [ $# -gt 0 ]; then echo "$*"; else cat; fi >>"$tmp/violations"
}

# finish WHAT   ends the check
finish() {
        if [ -s "$tmp/violations" ]; then
                cat "$tmp/violations"
                exit 1
        fi
        echo "ok: $*"
}

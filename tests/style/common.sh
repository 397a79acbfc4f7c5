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

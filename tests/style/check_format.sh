#!/bin/sh
# The sources look as clang-format writes them: clang-format -i FILE mends what is found here.
. "$(dirname "$0")/common.sh"

set -- $(files "c h cpp hpp" lib include daemon examples tests bench)
[ $# -gt 0 ] || finish "no sources"
# In one process: to start it takes longer than to format a file.
if ! "${CLANG_FORMAT:-clang-format}" --dry-run -Werror --style=file "$@" >"$tmp/messages" 2>&1; then
        sed -n 's/^\([^ :]*\):[0-9]*:[0-9]*: error: .*/\1: not formatted/p' "$tmp/messages" |
                LC_ALL=C sort -u >"$tmp/named"
        violation <"$tmp/named"
        [ -s "$tmp/named" ] || violation "clang-format fails:"
        sed -n 1,12p "$tmp/messages" | violation
fi
finish "$# files are formatted"

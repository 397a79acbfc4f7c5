#!/bin/sh
# The sources look as clang-format writes them: clang-format -i FILE mends what is found here.
. "$(dirname "$0")/common.sh"

set -- $(files "c h" lib include daemon examples tests bench)
[ $# -gt 0 ] || finish "no sources"
for file in "$@"; do
        if ! "${CLANG_FORMAT:-clang-format}" --dry-run -Werror --style=file "$file" >"$tmp/messages" 2>&1; then
                violation "$file: not formatted"
                sed -n 1,12p "$tmp/messages" | violation
        fi
done
finish "$# files are formatted"

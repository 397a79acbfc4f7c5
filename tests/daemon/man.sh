#!/bin/sh
# The manual pages are well-formed, and say of each verb and option what the programs say.
. "$(dirname "$0")/common.sh"
pages=$(cd "$(dirname "$0")/../../doc/man" && pwd)

for page in "$pages"/*; do
        if command -v mandoc >/dev/null; then
                mandoc -T lint -W warning "$page" || fail "$page"
        fi
        if command -v man >/dev/null; then
                LC_ALL=C.UTF-8 MANWIDTH=100 man --warnings -l "$page" >"$tmp/text" 2>"$tmp/err" || fail "$page"
                [ ! -s "$tmp/err" ] || {
                        cat "$tmp/err"
                        fail "$page has warnings"
                }
                [ "$(wc -l <"$tmp/text")" -gt 40 ] || fail "$page is short"
        fi
done

# documented PAGE WORD   as an option or a verb
documented() {
        grep -qE "(Fl \\\\-|Cm |^\.Nm )$2( |\$)" "$pages/$1" || fail "$1 does not mention $2"
}
verbs=$("$ctl" --help | sed -n 's/^  \([a-z][a-z]*\)  *[a-z].*/\1/p')
[ "$(echo "$verbs" | wc -l)" -ge 10 ] || fail "shmallocctl --help names only: $verbs"
for verb in $verbs; do
        documented shmallocctl.1 "$verb"
        for option in $("$ctl" "$verb" --help | grep -oE '^ .*--[a-z-]+' | grep -oE '\-\-[a-z-]+' |
                grep -vE -- '--(help|usage|version)'); do
                documented shmallocctl.1 "${option#--}"
        done
done
for option in $("$daemon" --help | grep -oE '^ .*--[a-z_-]+' | grep -oE -- '--[a-z_-]+' |
        grep -vE -- '--(help|usage|version)'); do
        grep -qE "(Fl \\\\-|Cm )${option#--}( |\$)" "$pages/shmallocd.8" "$pages/shmallocd.conf.5" ||
                fail "shmallocd.8 and shmallocd.conf.5 do not mention $option"
done
echo "ok: manual pages"

#!/bin/sh
# README's first program is examples/tutorial/guestbook.c, and the commands that README prints below it, run as they are
# printed, say what README says that they do.
. "$(dirname "$0")/common.sh"

awk '/^```c$/ { on = 1; next } on && /^```$/ { exit } on' "$source/README.md" >"$tmp/guestbook.c"
cmp "$tmp/guestbook.c" "$source/examples/tutorial/guestbook.c" || fail "README has another program than the examples"
awk '/^```console$/ { on = 1; next } on && /^```$/ { exit } on' "$source/README.md" >"$tmp/printed"
[ "$(grep -c '^\$ ' "$tmp/printed")" -ge 3 ] || fail "README prints no commands"

install_it
[ -x "$tmp/prefix/bin/shmallocctl" ] || sed -i '/^\$ shmallocctl/d' "$tmp/printed" # built without the tools
cd "$tmp"
sed -n 's/^\$ //p' printed >commands
: >said
while read -r command; do
        echo "\$ $command" >>said
        sh -c "$command" >>said 2>&1 </dev/null || {
                cat said
                fail "$command"
        }
done <commands
diff -u printed said || fail "the commands of README say something else"
echo "ok: $(wc -l <commands) commands"

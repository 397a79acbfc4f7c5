#!/bin/sh
# After an installation man finds the page of each function, and each page's example is a whole program, that compiles
# without a warning, runs, and ends well.
. "$(dirname "$0")/common.sh"

install_it
n=0
for page in "$source"/doc/man/*.3; do
        name=$(basename "$page" .3)
        awk '/^\.Sh EXAMPLES/ { on = 1; next } /^\.Sh / { on = 0 } on && /^\.Bd/ { text = 1; next }
                on && /^\.Ed/ { text = 0 } on && text' "$page" | sed 's/\\e/\\/g' >"$tmp/$name.c"
        [ -s "$tmp/$name.c" ] || fail "$name(3) has no example"
        # The flags are words.
        # shellcheck disable=SC2046
        "$cc" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -o "$tmp/$name" "$tmp/$name.c" \
                $(pkg-config --cflags --libs shmalloc) || fail "the example of $name(3) does not compile"
        status=0
        "$tmp/$name" >"$tmp/out" 2>&1 || status=$?
        if [ $status -ne 0 ]; then
                cat "$tmp/out"
                fail "the example of $name(3) ends with $status"
        fi
        n=$((n + 1))
done
[ -z "$(ls -A "$SHMALLOC_DIR")" ] || fail "an example leaves a heap behind: $(ls "$SHMALLOC_DIR")"

if command -v man >/dev/null; then
        for function in $(sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([a-z_]*\).*/\1/p' "$source"/doc/man/*.3); do
                file=$(man -M "$tmp/prefix/share/man" -w 3 "$function" 2>"$tmp/err") || fail "man finds no $function"
                MANWIDTH=100 man -M "$tmp/prefix/share/man" 3 "$function" >"$tmp/text" 2>"$tmp/err" ||
                        fail "man cannot show $function, $file"
                grep -q "$function(" "$tmp/text" || fail "man shows something else for $function"
        done
fi
echo "ok: $n pages"

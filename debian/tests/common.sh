# What the tests of the tool and of the daemon share.  Sourced at the top of the source tree.
# The heap's name is a word.
# shellcheck shell=sh disable=SC2086
set -eu
source=$PWD/debian/tests
tmp=${AUTOPKGTEST_TMP:-$(mktemp -d)}
heap=autopkgtest-$$
child=
clean() {
        [ -z "$child" ] || kill -KILL "$child" || true
        shmallocctl rm --force $heap >"$tmp/rm" 2>&1 || true # it may be gone
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

# Starts a client of the heap, which waits, and says its process in $child.
start_client() {
        # The flags are words.
        # shellcheck disable=SC2046
        [ -x "$tmp/client" ] || cc -o "$tmp/client" "$source/client.c" $(pkg-config --cflags --libs shmalloc)
        rm -f "$tmp/ready"
        mkfifo "$tmp/ready"
        "$tmp/client" $heap >"$tmp/ready" &
        child=$!
        read -r line <"$tmp/ready"
        [ "$line" = ready ]
}

# until_true COMMAND   tries it for a minute
until_true() {
        n=0
        until "$@"; do
                n=$((n + 1))
                [ $n -lt 600 ] || return 1
                sleep 0.1
        done
}

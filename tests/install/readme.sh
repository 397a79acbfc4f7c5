#!/bin/sh
# The commands of README.md do what it says, in the order in which they stand there, on a copy of this source tree: the
# demonstration, the installation of what that has built, and a program that uses it.  Nothing is written to standard
# error.
#
#   readme.sh SOURCE_DIR
set -eu
source=$1
here=$(cd "$(dirname "$0")" && pwd)

trap 'exit 1' HUP INT TERM
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
SHMALLOC_DIR=$(mktemp -d /dev/shm/shmalloc-test-XXXXXX) # heaps want memory
trap 'rm -rf "$tmp" "$SHMALLOC_DIR"' EXIT
export SHMALLOC_DIR
mkdir "$tmp/bin"

# run COMMAND   as it is printed
run() {
        if ! (cd "$tmp/tree" && PATH=$tmp/bin:$PATH sh -c "$1") >"$tmp/out" 2>"$tmp/err" || [ -s "$tmp/err" ]; then
                echo "failed: $1"
                tail -n 30 "$tmp/out" "$tmp/err"
                exit 1
        fi
        echo "ok: $1"
}

# What it installs it has here already; and ldconfig is root's.
printf '#!/bin/sh\necho "ii "\n' >"$tmp/bin/dpkg-query"
printf '#!/bin/sh\n' >"$tmp/bin/ldconfig"
chmod +x "$tmp/bin/dpkg-query" "$tmp/bin/ldconfig"

mkdir "$tmp/tree"
(cd "$source" && tar -cf - --exclude=./build --exclude=./.git .) | tar -xf - -C "$tmp/tree"
rm -f "$tmp/commands"
sed -n 's/^    \(\.\/demo\.sh\|cmake --install\)/\1/p' "$source/README.md" >"$tmp/commands"
if [ "$(wc -l <"$tmp/commands")" -ne 2 ] || ! grep -qx '    ./test.sh' "$source/README.md"; then
        echo "failed: README.md has other commands"
        exit 1
fi
run "$(sed -n 's/ *#.*//; s/demo\.sh/& README.md LICENSE/; 1p' "$tmp/commands")" # of texts that are short
run "$(sed -n "2s,/usr/local,$tmp/prefix,p" "$tmp/commands")"
run "./test.sh -h"
# The comparison that README begins with, with what demo.sh has left.
comparison=$(sed -n 's/^    \$ \(sh examples\/boost_comparison.*\)/\1/p' "$source/README.md")
if command -v g++ >/dev/null && [ -d /usr/include/boost/interprocess ]; then
        run "${comparison:-false} 20"
        sed 's/, [0-9]* times:/, 1000 times:/' "$tmp/out" >"$tmp/said"
        sed -n '/^    \$ sh examples\/boost_comparison/,/^$/s/^    \([A-Zs].*\)/\1/p' "$source/README.md" |
                grep -v '^sh ' >"$tmp/printed"
        diff -u "$tmp/printed" "$tmp/said" || {
                echo "failed: README.md shows another comparison"
                exit 1
        }
fi

PKG_CONFIG_PATH=$(dirname "$(find "$tmp/prefix" -name shmalloc.pc)")
export PKG_CONFIG_PATH
# The flags are words.
# shellcheck disable=SC2046
"${CC:-cc}" -o "$tmp/consumer" -D_XOPEN_SOURCE=700 "$here/consumer.c" $(pkg-config --cflags --libs shmalloc) \
        -Wl,-rpath,"$(pkg-config --variable=libdir shmalloc)"
run "$tmp/consumer"
run "$tmp/prefix/bin/shmallocctl --version"

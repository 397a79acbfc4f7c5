#!/bin/sh
# The Debian packages and their source build, out of what would be committed, and lintian has nothing to say of them
# that debian/ does not explain; none of them is empty.
#
#   packages.sh SOURCE_DIR
set -eu
source=$1
for tool in dpkg-buildpackage dh lintian git; do
        command -v $tool >/dev/null || {
                echo "skipped: there is no $tool (cmake/packages.txt, To package)"
                exit 77
        }
done

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

fail() {
        echo "failed: $*"
        tail -n 60 "$tmp/log"
        exit 1
}

mkdir "$tmp/tree"
# A tarball has no list of files, but nothing else than them either.
(cd "$source" && if git ls-files -z -c -o --exclude-standard >"$tmp/files" 2>"$tmp/log"; then
        tar -cf - --null -T "$tmp/files"
else
        tar -cf - --exclude=./build .
fi) | tar -xf - -C "$tmp/tree"
unset CC CXX CFLAGS LDFLAGS MAKEFLAGS CMAKE_GENERATOR
cd "$tmp/tree"
version=$(sed -n '1s/.*(\([^-]*\)-.*/\1/p' debian/changelog)
tar -czf "$tmp/shmalloc_$version.orig.tar.gz" -C "$tmp" tree
dpkg-buildpackage -us -uc >"$tmp/log" 2>&1 || fail "dpkg-buildpackage"
cd "$tmp"
lintian -I --pedantic --allow-root --fail-on error,warning,info,pedantic shmalloc_*.changes >"$tmp/log" 2>&1 ||
        fail "lintian"
[ ! -s "$tmp/log" ] || fail "lintian"
for package in libshmalloc0 libshmalloc-dev shmalloc-tools shmallocd shmalloc-doc; do
        dpkg-deb -c "$package"_*.deb | grep -c '[^/]$' >"$tmp/n"
        echo "ok: $package, $(cat "$tmp/n") files"
        [ "$(cat "$tmp/n")" -gt 3 ] || fail "$package is empty" # its changelogs and its copyright
done

#!/bin/sh
# The release script makes the same twice, checksums that hold, and the notes of its version only; and it refuses what
# is not to be released.
#
#   release.sh SOURCE_DIR
set -eu
source=$1
command -v git >/dev/null || {
        echo "skipped: there is no git"
        exit 77
}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
tree=$tmp/tree
# Nobody's settings, and no repository around this one.
GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_CEILING_DIRECTORIES=$tmp
export GIT_CONFIG_GLOBAL GIT_CONFIG_SYSTEM GIT_CEILING_DIRECTORIES
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

fail() {
        echo "failed: $*"
        cat "$tmp/log"
        exit 1
}

commit() {
        git -C "$tree" add -A
        git -C "$tree" -c user.name=x -c user.email=x@example.org commit -q -m x
}

release() {
        "$tree/cmake/release.sh" "$tmp/out" >"$tmp/log" 2>&1
}

# refuses WHAT   and says it
refuses() {
        ! release || fail "released in spite of: $1"
        grep -q "^release.sh: .*$2" "$tmp/log" || fail "does not say why: $1"
        git -C "$tree" reset -q --hard good
        n=$((n + 1))
}

# What the script looks at, of this tree, as a version that is out.
for file in cmake/release.sh tests/style/check_version.sh tests/style/common.sh include/shmalloc/shmalloc.h \
        lib/shmalloc.map debian/changelog debian/control; do
        mkdir -p "$tree/$(dirname "$file")"
        cp "$source/$file" "$tree/$file"
done
cp "$source"/debian/*.symbols "$tree/debian"
version=$(sed -n 's/^#define SHMALLOC_VERSION_[A-Z]* //p' "$tree/include/shmalloc/shmalloc.h" | paste -sd.)
sed -i '1s/UNRELEASED/unstable/' "$tree/debian/changelog"
printf '%s\n' '# Changelog' '' "## $version (2026-11-30)" '' '* New.' '' '## 0.0.9 (2026-11-01)' '' '* Old.' \
        >"$tree/CHANGELOG.md"
git -c init.defaultBranch=main init -q "$tree"
commit
git -C "$tree" tag good
n=0

release || fail "cannot release"
name=shmalloc-$version
(cd "$tmp/out" && sha256sum -c "$name.sha256") >"$tmp/log" 2>&1 || fail "checksums"
[ "$(cat "$tmp/out/$name.md")" = '* New.' ] || fail "other notes: $(cat "$tmp/out/$name.md")"
for packed in "$tmp/out/$name.tar.gz" "$tmp/out/$name.tar.xz"; do
        rm -rf "$tmp/unpacked"
        mkdir "$tmp/unpacked"
        tar -xf "$packed" -C "$tmp/unpacked"
        diff -r -x .git "$tree" "$tmp/unpacked/$name" >"$tmp/log" 2>&1 || fail "another tree in $packed"
done
mv "$tmp/out" "$tmp/first"
release || fail "cannot release once more"
diff -r "$tmp/first" "$tmp/out" >"$tmp/log" 2>&1 || fail "not the same twice"

echo >>"$tree/CHANGELOG.md"
refuses "a change that is not committed" "not committed"
echo >"$tree/stray"
refuses "a file that is not committed" "not committed"
rm -f "$tree/stray"
sed -i 's/ (2026-11-30)/ (unreleased)/' "$tree/CHANGELOG.md"
commit
refuses "a version without a date" "no date for $version"
sed -i '1s/unstable/UNRELEASED/' "$tree/debian/changelog"
commit
refuses "a package that is unreleased" "is unreleased"
sed -i '1s/(.*)/(9.9.9-1)/' "$tree/debian/changelog"
commit
refuses "versions that do not agree" "debian/changelog:1"
sed -i '/New/d' "$tree/CHANGELOG.md"
commit
refuses "an empty section" "says nothing"
git -C "$tree" tag "v$version"
release || fail "its own tag is refused"
echo more >>"$tree/CHANGELOG.md"
commit
refuses "a tag at another commit" "another commit"
echo "ok: released, and $n times refused"

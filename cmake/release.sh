#!/bin/sh
# Makes what is published of a version: a tarball of the commit that is checked out, its checksums, and the section of
# CHANGELOG.md.  Made twice it is the same, byte for byte.
#
#   cmake/release.sh FOLDER
#
# It refuses: a tree with changes that are not committed; a version that CHANGELOG.md or debian/changelog calls
# unreleased; versions that do not agree (tests/style/check_version.sh); a tag of that version elsewhere.
# Nothing is tagged or sent: what is left to do is printed.
set -eu

die() {
        echo "release.sh: $*" >&2
        exit 1
}

case ${1:-} in
-* | '')
        sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p}' "$0" >&2
        exit 2
        ;;
esac
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

[ -z "$(git status --porcelain)" ] || die "there are changes that are not committed (git status)"
sh tests/style/check_version.sh . >"$out/check.log" || die "$(cat "$out/check.log")"
rm "$out/check.log"

version=$(sed -n 's/^#define SHMALLOC_VERSION_\(MAJOR\|MINOR\|PATCH\) //p' include/shmalloc/shmalloc.h | paste -sd.)
grep -q -m 1 "^## $version ([0-9-]*)\$" CHANGELOG.md || die "CHANGELOG.md has no date for $version"
! sed -n 1p debian/changelog | grep -q UNRELEASED || die "debian/changelog says that $version is unreleased"
tag=v$version
commit=$(git rev-parse HEAD)
if at=$(git rev-parse -q --verify "refs/tags/$tag^{commit}"); then
        [ "$at" = "$commit" ] || die "the tag $tag is at another commit, $at"
fi

name=shmalloc-$version
git archive --format=tar --prefix="$name/" HEAD >"$out/$name.tar"
gzip -n9 <"$out/$name.tar" >"$out/$name.tar.gz"
xz -9 <"$out/$name.tar" >"$out/$name.tar.xz"
rm "$out/$name.tar"
# The section without its heading and the empty lines around it.
awk -v heading="## $version (" '
index($0, heading) == 1 { on = 1; next }
/^## / { on = 0 }
on && (n > 0 || $0 != "") { line[++n] = $0 }
END {
        while (n > 0 && line[n] == "")
                n--
        for (i = 1; i <= n; i++)
                print line[i]
}' CHANGELOG.md >"$out/$name.md"
[ -s "$out/$name.md" ] || die "CHANGELOG.md says nothing of $version"
(cd "$out" && sha256sum "$name.md" "$name.tar.gz" "$name.tar.xz" >"$name.sha256")

echo "$out: $name.tar.gz, $name.tar.xz, $name.md, $name.sha256"
[ -n "${at:-}" ] || echo "To do: git tag -s -F $out/$name.md $tag $commit && git push origin $tag"
echo "To do: gpg --detach-sign --armor $out/$name.sha256"

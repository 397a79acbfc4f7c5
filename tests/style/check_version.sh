#!/bin/sh
# The version stands in the public header, and what has to repeat it agrees: the first section of CHANGELOG.md, the
# first entry of debian/changelog and the library's package there, what tests/install asks for; no symbol is of a later
# version, and no manual page is younger than a version that is out.
. "$(dirname "$0")/common.sh"

header=include/shmalloc/shmalloc.h
map=lib/shmalloc.map

# number PART   of the version
number() {
        sed -n "s/^#define SHMALLOC_VERSION_$1 \([0-9][0-9]*\)\$/\1/p" "$header"
}
major=$(number MAJOR) minor=$(number MINOR) patch=$(number PATCH)
version=$major.$minor.$patch
case $version in
.* | *..* | *.) violation "$header: does not define SHMALLOC_VERSION_MAJOR, _MINOR and _PATCH" ;;
esac

# later A B   whether version A is later than version B
later() {
        [ "$1" != "$2" ] && [ "$(printf '%s\n' "$1" "$2" | LC_ALL=C sort -V | tail -n 1)" = "$1" ]
}

date=
if [ -f CHANGELOG.md ]; then
        heading=$(grep -n -m 1 '^## ' CHANGELOG.md || echo 1:)
        date=$(echo "$heading" | sed -n "s/^[0-9]*:## $version (\([0-9]*-[0-9]*-[0-9]*\))\$/\1/p")
        [ -n "$date" ] || [ "${heading#*:}" = "## $version (unreleased)" ] ||
                violation "CHANGELOG.md:${heading%%:*}: is not \"## $version (DATE)\" or \"## $version (unreleased)\""
fi

# Words of symbol versions: SHMALLOC_0.1
grep -on 'SHMALLOC_[0-9][0-9.]*' "$map" >"$tmp/nodes" || violation "$map: has no SHMALLOC_$major.$minor"
while IFS=: read -r line node; do
        ! later "${node#SHMALLOC_}" "$major.$minor" || violation "$map:$line: $node is later than $version"
done <"$tmp/nodes"

if [ -d debian ]; then
        first=$(sed -n '1s/^shmalloc (\([0-9.]*\)-.*/\1/p' debian/changelog)
        [ "$first" = "$version" ] || violation "debian/changelog:1: is not of $version"
        grep -qx "Package: libshmalloc$major" debian/control ||
                violation "debian/control: has no package libshmalloc$major, which is the library's name"
        grep -n '@' "debian/libshmalloc$major.symbols" 2>"$tmp/messages" >"$tmp/symbols" ||
                violation "debian/libshmalloc$major.symbols: has no symbols"
        while read -r line _ since; do
                ! later "$since" "$version" ||
                        violation "debian/libshmalloc$major.symbols:${line%:}: $since is later than $version"
        done <"$tmp/symbols"
fi

consumer=tests/install/CMakeLists.txt
[ ! -f $consumer ] || grep -q "^find_package(shmalloc $major\.$minor " $consumer ||
        violation "$consumer: does not ask for $major.$minor"

for page in doc/man/*.[1-9]; do
        [ -f "$page" ] || continue
        dated=$(sed -n '1s/^\.Dd \([A-Z][a-z]* [0-9]*, [0-9]*\)$/\1/p' "$page")
        day=$(LC_ALL=C date -d "${dated:-none}" +%Y-%m-%d 2>"$tmp/messages") || {
                [ "$(head -c 4 "$page")" = ".so " ] || violation "$page:1: has no date: .Dd Month day, year"
                continue
        }
        [ -z "$date" ] || ! later "$day" "$date" || violation "$page:1: is younger than $version, of $date"
done
finish "version $version"

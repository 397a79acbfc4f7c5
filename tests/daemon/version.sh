#!/bin/sh
# Every program says which version it is, and nothing else; what takes options lists that among them.
#
#   version.sh VERSION PROGRAM...
set -eu
version=$1
shift
[ $# -ge 5 ] || {
        echo "failed: so few programs: $*"
        exit 1
}
for program in "$@"; do
        text=$("$program" --version </dev/null) || {
                echo "failed: status $?: $program --version"
                exit 1
        }
        case $text in
        *" ${version%.*}" | *" $version") echo "ok: $text" ;;
        *)
                echo "failed: $program says: $text"
                exit 1
                ;;
        esac
done

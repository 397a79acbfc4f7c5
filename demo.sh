#!/bin/sh
# Builds shmalloc and shows it at work.
set -eu
cd "$(dirname "$0")"

usage() {
        cat <<END
usage: ./demo.sh [FILE...]

Installs what is missing from Debian's packages (as root, or through sudo), builds everything in build/, and lets four
processes index the FILEs, by default the documentation found on this machine, into one hash table in a shared heap;
then once more while workers are killed at random moments. Nothing but build/ and the packages stays.
END
}

for argument; do
        case $argument in
        -h | --help)
                usage
                exit 0
                ;;
        --) break ;;
        -*)
                usage >&2
                exit 2
                ;;
        esac
done
[ "${1:-}" != -- ] || shift

. cmake/prepare.sh
install_packages build
build OFF

program=$build/examples/wordindex
[ -x "$program" ] || die "$program is missing from this source tree"

say "Four processes index text into one shared heap"
"$program" -w 4 "$@" || die "wordindex failed with status $?"
echo
say "The same while workers are killed with SIGKILL at random moments, and new ones take over"
"$program" -w 4 --kill "$@" || die "wordindex --kill failed with status $?"
echo
printf '%sBoth runs ended well.%s\n' "$green" "$plain"

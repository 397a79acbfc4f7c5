# What the tests of bench/ share.  Started as NAME.sh SOURCE_DIR PROGRAM_DIR.
# shellcheck shell=sh
set -eu
source_dir=${1:?usage: $0 SOURCE_DIR PROGRAM_DIR}
bin=${2:?usage: $0 SOURCE_DIR PROGRAM_DIR}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM
bad=0

fail() {
        echo "$*"
        bad=1
}

# What the tests of bench/ share.  Started as NAME.sh SOURCE_DIR PROGRAM_DIR.
# shellcheck shell=sh
set -eu
source_dir=${1:?usage: $0 SOURCE_DIR PROGRAM_DIR}
bin=${2:?usage: $0 SOURCE_DIR PROGRAM_DIR}
dir=$(mktemp -d)
SHMALLOC_DIR=$(mktemp -d /dev/shm/shmalloc-bench-XXXXXX) # so that a heap of one that failed goes with it
export SHMALLOC_DIR
trap 'rm -rf "$dir" "$SHMALLOC_DIR"' EXIT
trap 'exit 1' HUP INT TERM
bad=0

fail() {
        echo "$*"
        bad=1
}

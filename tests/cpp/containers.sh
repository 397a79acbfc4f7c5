#!/bin/sh
# Containers in a heap are passed on from one program to the next, each built by another compiler, for another standard
# or with other options; at one address, and at another one each time.  What the last one destroys leaves no byte.
#
#   containers.sh PEER...
set -eu

name=cpp-containers-$$
dir=${SHMALLOC_DIR:-/dev/shm}
trap 'rm -f "$dir/shmalloc.$name"' EXIT
trap 'exit 1' HUP INT TERM

first=$1
for how in '' r; do
        "$first" ${how}make "$name"
        for peer in "$@"; do
                "$peer" ${how}change "$name"
        done
        for peer in "$@"; do
                last=$peer
        done
        "$last" ${how}end "$name"
done

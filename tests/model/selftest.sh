#!/bin/sh
# selftest.sh - run.sh fails where it has to: errors, waiting, searches cut short, no spin.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
failures=0

# expect STATUS TEXT COMMAND...   what it ends with, and a line that it prints
expect() {
        status=0
        wanted=$1 text=$2
        shift 2
        "$@" >"$work/out" 2>&1 || status=$?
        if [ $status -ne "$wanted" ] || ! grep -q -- "$text" "$work/out"; then
                echo "expected status $wanted and \"$text\", not status $status and:"
                cat "$work/out"
                failures=$((failures + 1))
        fi
}

model() {
        printf '/*\n * sizes: N=1\n * mutant: seen\n * mutant: unseen\n */\n%s\n' "$2" >"$work/$1.pml"
}

model good 'byte x; init { x = 1; x = 2; assert(x == 2) }'
model wrong 'byte x; init { x = 1; assert(x == 2) }'
model waits 'byte x; init { x == 1 }'
model mutants 'byte x;
#ifdef MUTATION_seen
init { assert(x == 1) }
#else
init { skip }
#endif
#ifdef MUTATION_unseen
#endif'
model unreached 'byte x;
active proctype P()
{
        if
        :: x == 1 ->
                x = 2
        :: else
        fi
}'
model syntax 'init { x = 1 }'

run="sh $here/run.sh"
# The command is two words.
# shellcheck disable=SC2086
{
        expect 0 'states' $run "$work/good.pml"
        expect 1 'assertion violated' $run "$work/wrong.pml"
        expect 1 'invalid end state' $run "$work/waits.pml"
        expect 1 'not complete' env MODEL_DEPTH=2 $run "$work/good.pml"
        expect 0 'caught' $run --mutant seen "$work/mutants.pml"
        expect 1 'was not caught' $run --mutant unseen "$work/mutants.pml"
        expect 2 'no mutant' $run --mutant nobody "$work/mutants.pml"
        expect 0 'never reached' $run "$work/unreached.pml"
        expect 1 'undeclared' $run "$work/syntax.pml"
        expect 2 'no line' $run --large "$work/good.pml"
        expect 2 'no model' $run nonesuch
        expect 0 'usage' $run --help
}
# Everything but spin is there.
mkdir "$work/bin"
for tool in sh sed grep dirname basename cc; do
        ln -s "$(command -v $tool)" "$work/bin/$tool"
done
expect 2 'spin is missing' env -u CC PATH="$work/bin" sh "$here/run.sh" "$work/good.pml"

[ $failures -eq 0 ] || exit 1
echo "ok"

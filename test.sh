#!/bin/sh
# Builds shmalloc and runs its tests.
set -eu
cd "$(dirname "$0")"

usage() {
        cat <<END
usage: ./test.sh [CTEST-OPTION...]

Installs what is missing from Debian's packages (as root, or through sudo), builds everything in build/ and runs the
tests but for those labelled slow. Options go to ctest:
    ./test.sh -L unit        only the unit tests (others: asan tsan multi regress crash explore model stress hostile
                             numa daemon kvcache bench style)
    ./test.sh -R heap        only tests whose name matches
    ./test.sh --all          the slow ones too
The last line counts the tests: "N passed, M failed". Nothing but build/ and the packages stays.
END
}

slow="-LE slow"
sections="build test"
for argument; do
        shift
        case $argument in
        -h | --help)
                usage
                exit 0
                ;;
        --all)
                slow=
                sections="$sections package"
                ;;
        *) set -- "$@" "$argument" ;;
        esac
done

. cmake/prepare.sh
# The sections are words.
# shellcheck disable=SC2086
install_packages $sections
build ON

say "Testing"
output=$build/test.log
log=$build/Testing/Temporary/LastTest.log
rm -f "$output" "$log"
status=0
# The option and its value are two words.
# shellcheck disable=SC2086
ctest --test-dir "$build" --output-on-failure $slow -j "$(($(nproc) * 2))" --timeout 1200 --no-tests=error \
        --output-log "$output" "$@" || status=$?

# What libcheck counted in each program: ctest shows it for failed ones only.
if [ -f "$log" ]; then
        echo
        awk '
        /^[0-9]+\/[0-9]+ Test: / { name = $3 }
        /^[0-9]+%: Checks: /     { printf "%-36s %s\n", name, $0 }' "$log" | LC_ALL=C sort
fi

# From ctest's closing lines: "95% tests passed, 1 tests failed out of 20", and the list of those skipped.
summary=$(sed -n 's/.*% tests passed, \([0-9]*\) tests failed out of \([0-9]*\).*/\1 \2/p' "$output" 2>/dev/null |
        tail -n 1)
failures=${summary% *}
tests=${summary#* }
skipped=$(grep -c '(Skipped)$' "$output" 2>/dev/null || :)
failures=${failures:-0}
skipped=${skipped:-0}
passed=$((${tests:-0} - failures - skipped))
[ "$skipped" -eq 0 ] || echo "$skipped skipped"

if [ "$failures" -eq 0 ] && [ "$passed" -gt 0 ] && [ "$status" -eq 0 ]; then
        printf '%s%d passed, %d failed%s\n' "$green" "$passed" "$failures" "$plain"
        exit 0
fi
printf '%s%d passed, %d failed%s\n' "$red" "$passed" "$failures" "$plain"
exit 1

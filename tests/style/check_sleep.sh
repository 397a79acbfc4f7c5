#!/bin/sh
# Nothing in lib/ or tests/ sleeps: a wait has a condition, and a test that waits long enough is never long enough.
. "$(dirname "$0")/common.sh"

set -- $(files "c h" lib tests)
[ $# -gt 0 ] || finish "no sources"
sleeps='sleep|usleep|nanosleep|clock_nanosleep|thrd_sleep'
sleeps="$sleeps|poll[[:space:]]*\([[:space:]]*NULL|select[[:space:]]*\([[:space:]]*0"
code "$@" | grep -E "(^|[^A-Za-z0-9_])($sleeps)[^A-Za-z0-9_]" |
        grep -vE ':[[:space:]]*#[[:space:]]*include' |
        sed 's/$/   <- wait for a condition instead/' | violation
grep -nE '(^|[;&|(]|then|do)[[:space:]]*sleep[[:space:]]' $(files sh tests) /dev/null |
        sed 's/$/   <- wait for a condition instead/' | violation
finish "$# files never sleep"

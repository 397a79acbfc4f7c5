#!/bin/sh
# That judge.awk names what is beyond a bound, and nothing else.  Usage: selftest.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bad=0

# figures HIT_OURS HIT_THEIRS SLOW_OURS SLOW_THEIRS "TIMES OURS" "TIMES THEIRS"
figures() {
        {
                echo "pair,hit,instructions,ours,$1,a hit"
                echo "pair,hit,instructions,theirs,$2,a hit"
                echo "miss,slow,instructions,ours,$3,a miss, and more"
                echo "miss,slow,instructions,theirs,$4,a miss, and more"
                for row in pair,hit miss,slow; do
                        for ns in $5; do echo "$row,time,ours,$ns,x"; done
                        for ns in $6; do echo "$row,time,theirs,$ns,x"; done
                done
        } >"$dir/figures"
}

# expect STATUS TEXT [ROW...]   judges what was made, which must end so and name just these rows
expect() {
        status=0
        awk -F, -f "$here/judge.awk" "$dir/figures" >"$dir/table" 2>&1 || status=$?
        named=$(sed -n 's/^\* \([a-z]*\): .*/\1/p' "$dir/table" | sort -u | tr '\n' ' ')
        wanted=$1 text=$2
        shift 2
        if [ "$status" -ne "$wanted" ] || [ "${named% }" != "$*" ]; then
                echo "$text: status $status, not $wanted; named: ${named:-nothing}"
                cat "$dir/table"
                bad=1
        fi
}

figures 37.0 37.0 500 500 "10 11 10" "10 11 10"
expect 0 "the same"
grep -q '^| miss .*a miss, and more |$' "$dir/table" || { echo "no row in the table"; bad=1; }
figures 36.0 37.0 480 500 "9 9 9" "10 11 10"
expect 0 "better"
figures 38.0 37.0 500 500 "10 11 10" "10 11 10"
expect 1 "a hit of one instruction more" pair
figures 37.0 37.0 514 500 "10 11 10" "10 11 10"
expect 0 "2.8 % more on a slow path"
figures 37.0 37.0 516 500 "10 11 10" "10 11 10"
expect 1 "3.2 % more on a slow path" miss
figures 37.0 37.0 500 500 "10.4 10.4 10.4" "10 10 10"
expect 0 "4 % more time"
figures 37.0 37.0 500 500 "10.6 10.6 10.6" "10 10 10"
expect 1 "6 % more time" miss pair
figures 37.0 37.0 500 500 "10 99 10" "10 10 10"
expect 0 "one slow round of three"
figures 37.0 37.0 500 500 "10 22 30" "10 20 30"
expect 0 "a machine that slows down"
figures 37.0 37.0 500 500 "10 10" "10 10 10"
expect 2 "a round without one of the two"
figures 37.0 37.0 500 0 "10" "10"
expect 2 "a figure of nothing"
: >"$dir/figures"
expect 2 "no figures"
exit "$bad"

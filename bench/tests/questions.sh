#!/bin/sh
# That each question gives a figure in each of its cases: of shmalloc, and where private allocators are asked, of glibc.
. "$(dirname "$0")/common.sh"

# What some have no call for.
exceptions="heaps,*,glibc family,free_sized,glibc family,mallocx,glibc family,malloc_to,glibc"

# asks QUESTION [CASE,...]   runs it in no time at all
asks() {
        rm -f "$dir/csv"
        "$bin/$1" --tiny --rounds 1 --allocators shmalloc,glibc --csv "$dir/csv" ${2:+--cases "$2"} >"$dir/out" 2>&1 ||
                fail "$1 fails: $(cat "$dir/out")"
        grep -q 'failed\|ended' "$dir/out" && fail "$1: some failed: $(cat "$dir/out")"
        list=$("$bin/$1" --list)
        for name in $([ -n "${2:-}" ] && echo "$2" | tr , ' ' || echo "$list" | sed -n 's/^cases: //p'); do
                for allocator in shmalloc glibc; do
                        case " $list " in *" $allocator"*) ;; *) continue ;; esac
                        for exception in $exceptions; do
                                case "$1,$name,$allocator" in $exception) continue 2 ;; esac
                        done
                        grep -q "^$1,$name,[a-z_]*,[A-Za-z-]*,$allocator,[a-z]*,-\{0,1\}[0-9]" "$dir/csv" ||
                                fail "$1: no figure of $allocator in $name: $(cat "$dir/out")"
                done
        done
}

# Not handover: what two workers come to in no time at all is nothing, if the machine has other work.
asks pair
asks churn 1,2,1-32K
asks large untouched
asks resize
asks family
asks burst
asks heaps
asks idle
asks start
grep -q 'cannot be counted here' "$dir/out" || for name in create open; do
        grep -q "^start,$name,system_calls,calls,shmalloc,ours,[1-9]" "$dir/csv" ||
                fail "start: no system calls of $name"
done
asks clients 1
[ -z "$(command -v valgrind)" ] || asks instructions 64,calloc-64
asks reap 1-class,idle-killed
asks full
# What is live is less than it is with its rounding, and that no more than there is.
for name in 1K 32K; do
        awk -F, -v name=$name '$2 == name { share[$3] = $7 } END {
                live = share["live_share"]
                rounded = share["rounded_share"]
                exit !(live > 30 && live < rounded && rounded < 100)
        }' "$dir/csv" || fail "full, $name: shares that cannot be: $(cat "$dir/out")"
done
[ ! -x "$bin/sqlite" ] || asks sqlite

# Counted instead of timed: a figure per operation, however many are done at once, and callgrind's file of each run.
# counted CASE ALLOCATOR   how many
counted() {
        sed -n "s/^burst,$1,instructions,per-op,$2,[a-z]*,\([0-9.]*\),.*/\1/p" "$dir/csv"
}
if [ -n "$(command -v valgrind)" ] && [ -f /usr/include/valgrind/callgrind.h ]; then
        rm -f "$dir/csv"
        "$bin/burst" --tiny --allocators shmalloc --cases 200-of-64,1000-of-64 --csv "$dir/csv" --count "$dir" \
                >"$dir/out" 2>&1 || fail "burst --count fails: $(cat "$dir/out")"
        for allocator in null shmalloc; do
                few=$(counted 200-of-64 $allocator) many=$(counted 1000-of-64 $allocator)
                awk -v few="$few" -v many="$many" 'BEGIN { exit !(few > 5 && many > 5 && few < 3 * many &&
                        many < 3 * few) }' || fail "counted of $allocator: $few and $many: $(cat "$dir/out")"
                grep -q '^totals: [1-9]' "$dir/burst-200-of-64-$allocator.callgrind" || fail "no file of $allocator"
        done
        grep -q ',time,' "$dir/csv" && fail "times of a run that is counted: $(cat "$dir/csv")"
fi

exit $bad

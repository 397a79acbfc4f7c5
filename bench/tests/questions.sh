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
asks clients 1
[ -z "$(command -v valgrind)" ] || asks instructions 64,calloc-64
asks reap 1-class,idle-killed

exit $bad

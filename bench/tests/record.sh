#!/bin/sh
# That a trace is what the program did, no less and no more: of each program that is started one of its own, also of one
# that ends by _exit(), and nothing of what a child does before it starts one.
. "$(dirname "$0")/common.sh"

status=0
"$source_dir/record.sh" --library "$bin/record.so" --out "$dir" -- "$bin/known" 2>"$dir/said" || status=$?
[ $status -eq 0 ] || {
        cat "$dir/said"
        exit 1
}
set -- "$dir"/known-*
[ $# -eq 2 ] || fail "not two traces: $*"
[ "$(wc -l <"$dir/said")" -eq $# ] || fail "not all of them are named: $(cat "$dir/said")"

# Its own blocks, by name of the size that they first had: what else the C library does is not its.
known() {
        "$bin/trace-show" "$1" | awk '
                $1 == "free" && $2 in name { print "free " name[$2]; delete name[$2] }
                $1 == "realloc" && $2 in name { print "realloc " name[$2] " " $3; next }
                $1 != "free" && $1 != "realloc" && $3 ~ /^1000[0-9]*[13579]$/ {
                        print $1 " " $3 ($4 ? " " $4 : "")
                        name[$2] = $3
                        if ($3 == 100001) first = $2
                        if ($3 == 100003 && $2 != first) print "another number"
                }'
}

# same FILE LINES...   what that trace has of known's
same() {
        file=$1
        shift
        printf '%s\n' "$@" >"$dir/wanted"
        known "$file" >"$dir/got"
        cmp -s "$dir/wanted" "$dir/got" || {
                diff "$dir/wanted" "$dir/got" || :
                fail "$file is not what was done"
        }
}

for file; do
        if "$bin/trace-show" "$file" | grep -q 100033; then
                same "$file" 'malloc 100033'
                child=$file
        else
                same "$file" 'malloc 100001' 'calloc 100005' 'free 100001' 'malloc 100003' 'realloc 100005 100007' \
                        'malloc 100009' 'aligned_alloc 100011 256' 'aligned_alloc 100013 4096' \
                        'aligned_alloc 100015 64' 'malloc 100017' 'free 100003' 'malloc 100021' 'free 100009' \
                        'free 100021' 'free 100015' 'free 100011'
        fi
done
[ -n "${child:-}" ] || fail "there is no trace of the program that the child started"

# Only those that are asked for; what there is of that name is replaced; the command's status counts.
"$source_dir/record.sh" -l "$bin/record.so" -o "$dir/only" --only known -- sh -c "'$bin/known' child; exit 3" \
        2>"$dir/said" && fail "its status is lost" || [ $? -eq 3 ] || fail "not its status: $(cat "$dir/said")"
"$source_dir/record.sh" -l "$bin/record.so" -o "$dir/only" --only known -- "$bin/known" child 2>"$dir/said" ||
        fail "$(cat "$dir/said")"
[ "$(ls "$dir/only" | sed 's/\.zst$//')" = known.trace ] || fail "in the folder is $(ls "$dir/only")"
if "$source_dir/record.sh" -l "$bin/record.so" -o "$dir/only" --only nobody -- "$bin/known" child 2>"$dir/said"; then
        fail "nothing was recorded, and nobody says so"
fi

# Enough blocks for tables and windows to grow, and for addresses to get into each other's way in there.
"$source_dir/record.sh" -l "$bin/record.so" -o "$dir/many" -- "$bin/known" many 2>"$dir/said" ||
        fail "$(cat "$dir/said")"
counts=$("$bin/trace-show" "$dir"/many/* | awk '
        $1 == "free" { delete is_mine[$2]; next }
        { is_mine[$2] = $1 == "malloc" && $3 == 77 }
        is_mine[$2] { taken++ }
        END {
                for (block in is_mine)
                        left += is_mine[block]
                print taken, left
        }')
[ "$counts" = "100000 25000" ] || fail "of 100000 blocks and 25000 that stay, there are $counts in the trace"
exit $bad

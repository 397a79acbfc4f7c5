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

# Enough blocks for tables and windows to grow, recorded by a program that is nobody's test: what is read back is whole,
# or it would not be shown.
"$source_dir/record.sh" -l "$bin/record.so" -o "$dir/more" -- perl -e '
        $entry{$_} = "x" x (50 + $_ % 200) for 1 .. 60000;
        delete $entry{2 * $_} for 1 .. 30000;
        $all .= $entry{$_} // "" for 1 .. 60000;' 2>"$dir/said" || fail "$(cat "$dir/said")"
n=$("$bin/trace-show" --sum "$dir"/more/* | sed -n 's/.*: \([0-9]*\) calls.*/\1/p')
[ "${n:-0}" -gt 100000 ] || fail "only ${n:-none} of the calls of a program that makes many"
exit $bad

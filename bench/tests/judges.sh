#!/bin/sh
# That targets.awk and summary.awk say what is so of figures that are known: also that what cannot be told apart from
# the driver meets nothing.
. "$(dirname "$0")/common.sh"

# figure QUESTION CASE METRIC KIND ALLOCATOR GROUP MEDIAN NET [Q1 Q3]
figure() {
        echo "$1,$2,$3,ns,$5,$6,$7,$8,$7,$7,5,${9:-$7},${10:-$7},$4" >>"$dir/csv"
}

# pair CASE NULL OURS THEIRS [Q1 Q3]   of null
pair() {
        figure q "$1" time time null null "$2" "$2" "${5:-$2}" "${6:-$2}"
        figure q "$1" time time shmalloc ours "$3" "$(awk "BEGIN { print $3 - $2 }")"
        figure q "$1" time time other private "$4" "$(awk "BEGIN { print $4 - $2 }")"
}

# target TEXT VERDICT   the line of that target has this verdict
target() {
        line=$(grep "^| $1 |" "$dir/targets") || line=none
        case $line in
        *"| $2 |") ;;
        *) fail "target $1: not \"$2\": $line" ;;
        esac
}

# summary ROW RESULT
summary() {
        line=$(grep "^| $1 |" "$dir/summary") || line=none
        case $line in
        *"| $2 |") ;;
        *) fail "summary $1: not \"$2\": $line" ;;
        esac
}

cat >"$dir/list" <<'END'
q better    time net    best 1.0  better
q worse     time net    best 1.15/2.5 worse-in-bound
q worse     time net    best 1.15/2.4 worse-out-of-bound
q better    time net    best 1.15/2.5 better-than-goal
q best-lost time net    best 1.15/8.1 best-lost-in-bound
q memory    resident median at-most 29/30 memory-in-bound
q memory    resident median at-most 28/29 memory-out-of-bound
q share     live_share median at-least 90 share
q share     live_share median at-least 91 share-too-small
q share     live_share median at-least 91/90 share-in-bound
q level     time net    best 1.15 level
q worse     time net    best 1.15 worse
q ours-lost time net    best 1.15 ours-lost
q negative  time net    best 1.15 negative
q both-lost time net    best 1.15 both-lost
q best-lost time net    best 1.15 best-lost
q shaky     time net    best 1.15 shaky
q negative  time net    at-most 5 negative-itself
q worse     time net    at-most 5 worse-itself
q better    time net    at-most 5 better-itself
q ours-lost time net    ahead 2   ours-lost-ahead
q better    time net    ahead 2   better-ahead
q better    time net    ahead 9   better-far-ahead
q better    time net    than:other 0.1 better-than
q worse     time net    of:better 4.9 worse-than-better
q worse     time net    atleast-of:better 5 worse-at-least
q *         time median best 9    each
q *         time median mean 0.98 mean
q *         time median mean 9    mean-nine
END
echo question,case,metric,unit,allocator,group,median,net,min,max,runs,q1,q3,kind >"$dir/csv"
pair better 10 12 14
pair level 10 14.1 14
pair worse 10 20 14
pair ours-lost 10 10.4 14
pair negative 10 9.5 14
pair both-lost 10 10.3 10.1
pair best-lost 10 14 10.1
pair shaky 10 12 11 8 13
pair close 10 12.4 12.1
figure q better time time heap shared 15 5
figure q ours-lost time time heap shared 90 80
figure q memory resident plain shmalloc ours 30 30
figure q memory resident plain other private 20 20
figure q memory resident plain heap shared 10 10
figure q share live_share more shmalloc ours 90 90
figure q share live_share more heap shared 94 94
figure q share live_share more other private 80 80
figure q ahead live_share more shmalloc ours 90 90
figure q ahead live_share more other private 80 80
figure q behind live_share more shmalloc ours 40 40
figure q behind live_share more other private 80 80

judge() {
        awk -f "$source_dir/noise.awk" -f "$source_dir/$1.awk" ${2:+"$2"} "$dir/csv"
}
judge targets "$dir/list" >"$dir/targets"
judge summary >"$dir/summary"
target better met
target worse-in-bound 'within the bound'
target worse-out-of-bound '**missed**'
target better-than-goal met
target best-lost-in-bound 'not told apart'
target memory-in-bound 'within the bound'
target memory-out-of-bound '**missed**'
target share met
target share-too-small '**missed**'
target share-in-bound 'within the bound'
target level met
target worse '**missed**'
target ours-lost 'not told apart'
target negative 'not told apart'
target both-lost 'not told apart'
target best-lost '**missed**'
target shaky 'not told apart'
target negative-itself 'not told apart'
target worse-itself '**missed**'
target better-itself met
target ours-lost-ahead 'not told apart'
target better-ahead met
target better-far-ahead '**missed**'
target better-than '**missed**'
target worse-than-better '**missed**'
target worse-at-least met
target 'each worse' met
target mean '**missed**'
target mean-nine met
grep -q '^| better | 2 | 4 (other) | 0.50 | 0.86 | at most 1.0 | met |$' "$dir/targets" || fail "ratios are not those"
tail -n 1 "$dir/targets" | grep -q '^[0-9]* met, 3 within the bound but not the goal, 10 missed, 7 not told apart' ||
        fail "counts: $(tail -n 1 "$dir/targets")"

summary 'q better .*' first
summary 'q level .*' 'within 5 %'
summary 'q worse .*' '**lost (2.50 times)**'
summary 'q ours-lost .*' 'not told apart'
summary 'q negative .*' 'not told apart'
summary 'q close .*' 'not told apart'
summary 'q best-lost .*' '**lost (more than 8.00 times)**'
summary 'q share, live_share | 90 ns | 94 (heap) | 1.04 | ' 'within 5 %'
summary 'q ahead, live_share .*' first
summary 'q behind, live_share | 40 ns | 80 (other) | 2.00 | ' '**lost (2.00 times)**'
summary 'q memory, resident .*(heap) .*' '**lost (3.00 times)**'
figure q near resident plain shmalloc ours 10.4 10.4
figure q near resident plain other private 10 10
judge summary >"$dir/summary"
summary 'q near, resident .*' 'within 5 %'
tail -n 1 "$dir/summary" | grep -q '^14 rows: 2 first, 3 within 5 %, 4 lost, 5 not told apart.$' ||
        fail "counts: $(tail -n 1 "$dir/summary")"
[ $bad -eq 0 ] || cat "$dir/targets" "$dir/summary"
exit $bad

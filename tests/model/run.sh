#!/bin/sh
# run.sh - searches a Promela model completely, and fails unless there is no error in it; see --help.
set -eu

usage() {
        cat <<END
usage: run.sh [--large] [--mutant NAME] [--trail] [--keep] MODEL
       run.sh --list MODEL

Searches every state of MODEL (a file *.pml, or its name) with spin, within the sizes that the file's lines "sizes:"
name, and prints states, depth and time of each. Ends with 0 if each search was complete and found no error, else 1.

  --large         within the sizes of the lines "large:" instead
  --mutant NAME   with the bug planted that the file's line "mutant: NAME [NUMBER] WHAT" describes: 0 if one of the
                  searches, or that within the sizes of the line with that number, finds an error
  --trail         when an error is found, prints the run that leads to it
  --keep          leaves the folder with spin's files and says where it is
  --list          prints the names of the mutants

Needs spin and a C compiler (CC, default cc). Works in a folder of its own below TMPDIR.
END
}

die() {
        echo "run.sh: $*" >&2
        exit 2
}

large='' only='' mutant='' trail='' keep='' list='' model=''
while [ $# -gt 0 ]; do
        case $1 in
        -h | --help) usage && exit 0 ;;
        --large) large=1 ;;
        --mutant) [ $# -gt 1 ] || die "--mutant needs a name" && mutant=$2 && shift ;;
        --trail) trail=1 ;;
        --keep) keep=1 ;;
        --list) list=1 ;;
        -*) die "unknown option $1; try --help" ;;
        *) [ -z "$model" ] || die "one model at a time; try --help" && model=$1 ;;
        esac
        shift
done
[ -n "$model" ] || die "no model given; try --help"
here=$(cd "$(dirname "$0")" && pwd)
[ -f "$model" ] || model=$here/$model.pml
[ -f "$model" ] || die "there is no model $model"
model=$(cd "$(dirname "$model")" && pwd)/$(basename "$model")
name=$(basename "$model" .pml)

mutants() {
        sed -n 's/^ \* mutant: \([a-z_]*\).*/\1/p' "$model"
}

if [ -n "$list" ]; then
        mutants
        exit 0
fi
kind=sizes collapse=
[ -z "$large" ] || kind=large collapse=-DCOLLAPSE
if [ -n "$mutant" ]; then
        only=$(sed -n "s/^ \* mutant: $mutant  *\([0-9]*\).*/\1/p" "$model")
        mutants | grep -qx "$mutant" && grep -qh "MUTATION_$mutant\$" "$(dirname "$model")"/*.pml ||
                die "$name.pml has no mutant $mutant"
fi
command -v spin >/dev/null || die "spin is missing (Debian package spin): no model can be searched"
command -v "${CC:-cc}" >/dev/null || die "there is no C compiler ${CC:-cc}"

work=$(mktemp -d)
[ -n "$keep" ] || trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
[ -z "$keep" ] || echo "files: $work"

# What keeps a search from being one: states left out, or not told apart.
incomplete='max search depth too small|out of memory|MEMLIM|Warning: Search not completed|aborted|too many'
incomplete="$incomplete|Bit statespace search|Hash-Compact|VECTORSZ"

# search NUMBER SETTING...   one complete search.  0: no error; 1: an error; 2: it did not work
search() {
        folder=$work/$1
        shift
        mkdir "$folder"
        cd "$folder"
        set -- $(printf -- '-D%s ' "$@") ${mutant:+-DMUTATION_$mutant}
        spin "$@" -a "$model" >spin.out 2>&1 || :
        if [ ! -f pan.c ] || grep -qi 'error' spin.out; then
                cat spin.out
                return 2
        fi
        "${CC:-cc}" -w -DSAFETY $collapse -DVECTORSZ=2048 -DMEMLIM="${MODEL_MEGABYTES:-6000}" -o pan pan.c || return 2
        times >before
        ./pan -m"${MODEL_DEPTH:-1000000}" -w"${MODEL_HASH_BITS:-22}" >pan.out 2>&1 || :
        if ! grep -q '^State-vector .* errors: [0-9]*$' pan.out || ! grep -q '^Full statespace search' pan.out ||
                grep -Eq "$incomplete" pan.out && ! grep -q 'errors: [1-9]' pan.out; then
                cat pan.out
                echo "$name: the search is not complete"
                return 2
        fi
        sed -n 's/^pan:[0-9]*: \(.*\)/  error: \1/p' pan.out
        errors=$(sed -n 's/^State-vector .*depth reached \([0-9]*\), errors: \([0-9]*\)$/\2/p' pan.out)
        depth=$(sed -n 's/^State-vector .*depth reached \([0-9]*\), errors: .*/\1/p' pan.out)
        states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.out)
        times >after
        # The second line: user time of children, as 1m2.34s.
        seconds=$(awk 'FNR == 2 { split($1, t, /[ms]/); t[1] = t[1] * 60 + t[2]; s = t[1] - s }
                END { printf "%.2f", s }' before after)
        echo "  states $states, depth $depth, $seconds s"
        if [ "$errors" -ne 0 ]; then
                [ -z "$trail" ] || spin "$@" -t -p -g "$model"
                return 1
        fi
        ./pan -d >table
        awk '
        FNR == 1                        { n++ }
        n == 1 && /^unreached in /      { where = $3 == "init" ? ":init:" : $4 }
        n == 1 && /, state [0-9]*, /    { state = $0; sub(/.*, state /, "", state); sub(/,.*/, "", state)
                                          unreached[where, state + 0] = 1 }
        n == 2 && /^(proctype|init)/    { where = $1 == "init" ? ":init:" : $2 }
        n == 2 && /-\(tr / && where !~ /init/ && match($0, /[a-z_]*\.pml:[0-9]*/) {
                print (((where, $2 + 0) in unreached) ? "unreached" : "reached"), substr($0, RSTART, RLENGTH)
        }' pan.out table | sort -u >lines
        return 0
}

echo "$name${mutant:+ with the mutant $mutant}${large:+, large}"
n=0
sed -n "s/^ \* $kind: //p" "$model" >"$work/sizes"
[ -s "$work/sizes" ] || die "$name.pml has no line \"$kind:\""
while read -r sizes <&3; do
        n=$((n + 1))
        [ -z "$only" ] || [ $n -eq "$only" ] || continue
        echo "  $sizes"
        status=0
        # One word per setting.
        # shellcheck disable=SC2086
        search $n $sizes || status=$?
        [ $status -ne 2 ] || exit 1
        if [ -n "$mutant" ] && [ $status -eq 1 ]; then
                echo "  caught"
                exit 0
        fi
        [ $status -eq 0 ] || exit 1
done 3<"$work/sizes"
if [ -n "$mutant" ]; then
        echo "  the mutant was not caught: these sizes do not show it, or the model has lost what did"
        exit 1
fi
# Lines that no process but the survivor reached in any of the searches.
never=$(cat "$work"/*/lines | sort -u | awk '{ if ($1 == "reached") reached[$2] = 1; else seen[$2] = 1 }
        END { for (line in seen) if (!(line in reached)) print line }' | sort -t: -k1,1 -k2,2n)
for line in $never; do
        file=${line%:*}
        shared=$(sed -n 's/^#include "\(.*_model.pml\)"$/\1/p' "$(dirname "$model")/$file") # spin names who includes it
        text=$(sed -n "${line##*:}s/^ *//p" "$(dirname "$model")/${shared:-$file}")
        case $text in
        *"assert(false)"*) ;;
        *) echo "  never reached by these searches: ${shared:-$file}:${line##*:}: $text" ;;
        esac
done

#!/bin/sh
# The completions of bash, zsh and fish know every verb of shmallocctl and every option of each, and no others: asked in
# the shell itself where it is installed, and by the text of the file in any case.
. "$(dirname "$0")/common.sh"
here=$(cd "$(dirname "$0")" && pwd)
install=$here/../../daemon/install

verbs=$("$ctl" --help | sed -n 's/^  \([a-z][a-z]*\)  *[a-z].*/\1/p')
[ "$(echo "$verbs" | wc -l)" -ge 12 ] || fail "shmallocctl --help names only: $verbs"

# takes VERB   its options, as its help lists them
takes() {
        "$ctl" "$1" --help | sed -nE 's/^ {2,6}(-[a-zA-Z], )?--([a-z-]+)(=[A-Z]+)?( .*)?$/--\2/p' |
                grep -vxE -- '--(help|usage|version)' | LC_ALL=C sort -u || :
}

# same WHO VERB   what stands in $tmp/known is what the verb takes
same() {
        takes "$2" >"$tmp/taken"
        grep -vxE -- '--(help|usage|version)' "$tmp/known" | LC_ALL=C sort -u | diff "$tmp/taken" - >"$tmp/out" ||
                fail "$1, $2: its options (<) are not those of the completion (>): $(cat "$tmp/out")"
}

# ------------------------------------------------------------------ by the text

for verb in $verbs; do
        sed -n "s/^ *$verb) options='\(.*\)' ;;\$/\1/p" "$install/shmallocctl.bash" | tr ' ' '\n' >"$tmp/known"
        same bash "$verb"
        grep -q "^                '$verb:" "$install/_shmallocctl" || fail "zsh does not know $verb"
        sed -n "/^ *$verb) options+=(/{:more;/;;\$/!{N;b more};p}" "$install/_shmallocctl" |
                grep -oE "'--[a-z]+" | tr -d "'" >"$tmp/known" || :
        same zsh "$verb"
        grep -q "no_verb -a $verb " "$install/shmallocctl.fish" || fail "fish does not know $verb"
        sed -n "s/.*'__shmallocctl_verb \([^']*\)' .*-l \([a-z]*\) .*/ \1 :--\2/p" "$install/shmallocctl.fish" |
                sed -n "s/.* $verb .*://p" >"$tmp/known"
        same fish "$verb"
done

# ------------------------------------------------------------------ in the shells

PATH=$(dirname "$ctl"):$PATH
: >"$SHMALLOC_DIR/shmalloc.some-heap"

# complete_in SHELL WORDS   the matches
complete_in() {
        case $1 in
        bash)
                # The words of bash are between the quotes.
                # shellcheck disable=SC2016
                bash --norc -c 'source "$1" && COMP_WORDS=(${2% *} "${2##* }") &&
                        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) && _shmallocctl &&
                        printf "%s\n" "${COMPREPLY[@]}"' bash "$install/shmallocctl.bash" "$2"
                ;;
        zsh) awk -F '\t' -v words="$2" '$1 == words { print $2 }' "$tmp/zsh" ;; # asked all at once
        fish)
                # So are those of fish.
                # shellcheck disable=SC2016
                HOME=$tmp fish --no-config -c 'source $argv[1]; complete -C $argv[2]' "$install/shmallocctl.fish" "$2" |
                        cut -f1
                ;;
        esac
}

for shell in bash zsh fish; do
        if ! command -v $shell >/dev/null; then
                echo "skipped: $shell is not installed, and was not asked"
                continue
        fi
        if [ $shell = zsh ]; then
                set -- "shmallocctl "
                for verb in $verbs; do
                        set -- "$@" "shmallocctl $verb --" "shmallocctl $verb some"
                done
                HOME=$tmp zsh -f "$here/zsh_complete.zsh" "$install" "$@" >"$tmp/zsh" || fail "zsh does not answer"
        fi
        complete_in $shell "shmallocctl " | grep -v '^-' | LC_ALL=C sort >"$tmp/known"
        echo "$verbs" | LC_ALL=C sort | diff - "$tmp/known" >"$tmp/out" ||
                fail "$shell: the verbs (<) are not those of the completion (>): $(cat "$tmp/out")"
        for verb in $verbs; do
                complete_in $shell "shmallocctl $verb --" | sed 's/=$//' >"$tmp/known"
                same "$shell, asked" "$verb"
                complete_in $shell "shmallocctl $verb some" >"$tmp/known"
                if [ "$verb" = ls ]; then
                        ! grep -q some-heap "$tmp/known" || fail "$shell: ls takes no heap"
                else
                        grep -qx some-heap "$tmp/known" || fail "$shell, $verb: the heap is not offered"
                fi
        done
        echo "ok: $shell"
done

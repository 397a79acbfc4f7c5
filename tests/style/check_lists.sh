#!/bin/sh
# What is added in one list is not forgotten where it has to be, too.
#
# A figure (NAME_METRICS in lib/audit/stats.c) is counted by a row function, and its name ends in its unit; a counter of
#   a thread slot (lib/layout/layout.h) is summed up there, or says that nobody reads it; one in front of its intent may
#   also be read by shheap_ctl() or the dump.
# A name of shheap_ctl() (the table in lib/api/ctl.c) is described in the public header, and tried by a test; and the
#   other way round.
# A verb of shmallocctl (the table in daemon/ctl/main.c) has its entry in the manual page and in the completion, is
#   among those that tests/daemon/ctl.sh tries all options of, and is mentioned in doc/daemon.md; and the other way
#   round.
# A flag of the public header, SHA_* or SHHEAP_*, is known to lib/api, named in the manual page, and tried by a test.
# An invariant (lib/layout/invariants.h) is asserted by its number in lib/, and tests/unit/test_invariants.c breaks it;
#   and the other way round.
. "$(dirname "$0")/common.sh"

header=include/shmalloc/shmalloc.h
stats=lib/audit/stats.c
ctl=lib/api/ctl.c
verbs=daemon/ctl/main.c
completion=daemon/install/shmallocctl.bash
verb_test=tests/daemon/ctl.sh
invariants=lib/layout/invariants.h
breaks=tests/unit/test_invariants.c

# both LIST A LIST B   lines of the files A and B that only one of them has: "A: x is not in B"
both() {
        LC_ALL=C sort -u "$2" >"$tmp/first"
        LC_ALL=C sort -u "$4" >"$tmp/second"
        LC_ALL=C comm -23 "$tmp/first" "$tmp/second" | sed "s,\$, is not in $3," | sed "s,^,$1: ," | violation
        LC_ALL=C comm -13 "$tmp/first" "$tmp/second" | sed "s,\$, is not in $1," | sed "s,^,$3: ," | violation
}

if [ -f "$stats" ]; then
        awk '
        match($0, /^#define [A-Z]+_METRICS\(X\)/) {
                list = $2
                sub(/_METRICS.*/, "", list)
                next
        }
        list != "" && match($0, /^ +X\([A-Z_]+, "[a-z_]+", "[a-z]+"/) {
                split(substr($0, RSTART, RLENGTH), word, /[(", ]+/)
                id = list "_" word[3]
                at[id] = FILENAME ":" FNR
                if (word[4] !~ "_" word[5] "$")
                        print at[id] ": " word[4] " does not end in its unit, " word[5]
                if ((list, word[4]) in named)
                        print at[id] ": there are two " word[4]
                named[list, word[4]] = 1
        }
        !/\\$/ { list = "" }
        {
                rest = $0
                while (match(rest, /\[[A-Z_]+\] *(\+=|=|\+\+)[^=]/)) {
                        id = substr(rest, RSTART + 1, RLENGTH - 1)
                        rest = substr(rest, RSTART + RLENGTH)
                        sub(/\].*/, "", id)
                        counted[id] = 1
                }
                rest = $0
                while (match(rest, /&[a-z>.-]+\[[A-Z_]+\]/)) { # by who is told where
                        id = substr(rest, RSTART, RLENGTH - 1)
                        rest = substr(rest, RSTART + RLENGTH)
                        sub(/.*\[/, "", id)
                        counted[id] = 1
                }
        }
        END {
                for (id in at)
                        if (!(id in counted))
                                print at[id] ": " id " is counted nowhere"
        }' "$stats" | violation
        # shellcheck disable=SC2046
        awk '
        FILENAME ~ /stats\.c$/ { text = text $0; next }
        FILENAME ~ /(fault|ctl|dump)\.c$/ { more = more $0; next }
        /^struct thread_slot/ { is_front = 1 }
        /struct intent intent/ { is_front = 0 }
        is_front && !/nobody reads it/ && match($0, /^ +uint64_t n_[a-z_]+/) {
                name = $2
                sub(/;.*/, "", name)
                if (text more !~ "->" name "[^a-z_]")
                        print FILENAME ":" FNR ": " name " is read by nothing"
        }
        /^struct class_counters/ || /^#define THREAD_COUNTERS/ { on = 1 }
        /^};/ || /^$/ { on = 0 }
        on && !/nobody reads it/ && match($0, /^ +uint64_t [a-z_]+/) {
                name = $2
                sub(/;.*/, "", name)
                sub(/ .*/, "", name)
                sub(/\[.*/, "", name)
                if (text more !~ "(->|[.]|, )" name "[^a-z_]")
                        print FILENAME ":" FNR ": " name " is not summed up in lib/audit/stats.c"
        }' "$stats" $(files c lib/api daemon/ctl | grep -E '/(fault|ctl|dump)\.c$') lib/layout/layout.h | violation
fi

if [ -f "$ctl" ]; then
        sed -n 's/^ *{"\([a-z]*\.[a-z_]*\)", get_.*/\1/p' "$ctl" >"$tmp/names"
        grep -q '"heap\.name"' "$ctl" && echo heap.name >>"$tmp/names" # text, by itself
        sed -n 's/^ \*   \([a-z]*\.[a-z_]*\)  .*/\1/p' "$header" >"$tmp/described"
        both "$ctl" "$tmp/names" "$header" "$tmp/described"
        # shellcheck disable=SC2046
        cat $(files c tests) | grep -oE '"[a-z]+\.[a-z_]+"' | tr -d '"' | LC_ALL=C sort -u >"$tmp/tried"
        LC_ALL=C sort -u "$tmp/names" | LC_ALL=C comm -23 - "$tmp/tried" |
                sed "s,.*,$ctl: no test asks for &," | violation
fi

if [ -f "$verbs" ]; then
        sed -n 's/^ *{"\([a-z]*\)", verb_.*/\1/p' "$verbs" >"$tmp/verbs"
        sed -n 's/^\.It Cm \([a-z]*\)$/\1/p' doc/man/shmallocctl.1 >"$tmp/manual"
        both "$verbs" "$tmp/verbs" doc/man/shmallocctl.1 "$tmp/manual"
        sed -n "s/^ *local verbs='\\([a-z ]*\\)'\$/\\1/p" "$completion" | tr ' ' '\n' >"$tmp/completed"
        both "$verbs" "$tmp/verbs" "$completion" "$tmp/completed"
        sed -n 's/^verbs="\([a-z ]*\)"$/\1/p' "$verb_test" 2>"$tmp/messages" | tr ' ' '\n' >"$tmp/tried" || true
        both "$verbs" "$tmp/verbs" "$verb_test" "$tmp/tried"
        while read -r verb; do
                grep -qE "\`(shmallocctl )?$verb[ \`]" doc/daemon.md || violation "doc/daemon.md: says nothing of $verb"
        done <"$tmp/verbs"
fi

# Flags, and the masks of those that are known.
if [ -d lib/api ]; then
        {
                grep -v '__attribute__\|SHA_ATTR\|__asm__' "$header" |
                        sed -n 's/^#define \(SHA_[A-Z_]*\)[ (].*\([0-9]\|ctz\).*/\1/p'
                sed -n 's/^ *\(\(SHHEAP\|SHA\)_[A-Z_]*\) *= [0-9a-fx]*u[ ,].*/\1/p' "$header"
                sed -n '/^enum shheap_\(walk_what\|check_flags\)/,/}/p' "$header" | grep -oE 'SHHEAP_[A-Z_]+' || true
        } >"$tmp/flags"
        # shellcheck disable=SC2046
        code $(files c lib/api) | grep -oE '(SHA|SHHEAP)_[A-Z_]+' | LC_ALL=C sort -u >"$tmp/known"
        # shellcheck disable=SC2046
        cat $(files c tests) | grep -oE '(SHA|SHHEAP)_[A-Z_]+' | LC_ALL=C sort -u >"$tmp/tried"
        grep -ohE '(SHA|SHHEAP)_[A-Z_]+' doc/man/*.3 2>"$tmp/messages" | LC_ALL=C sort -u >"$tmp/manual" || true
        while read -r flag; do
                case $flag in
                SHA_ALIGN | SHA_LG_ALIGN) ;; # a field, not a bit: lib/api knows its mask
                *) grep -qx "$flag" "$tmp/known" || violation "$header: nothing in lib/api knows $flag" ;;
                esac
                grep -qx "$flag" "$tmp/manual" || violation "doc/man: no page of section 3 names $flag"
                grep -qx "$flag" "$tmp/tried" || violation "$header: no test uses $flag"
        done <"$tmp/flags"
fi

if [ -f "$invariants" ]; then
        sed -n 's/^ \*   \(I[0-9]*\) .*/\1/p' "$invariants" >"$tmp/invariants"
        # shellcheck disable=SC2046
        code $(files "c h" lib) | grep -oE 'ASSERT_INVARIANT\(I[0-9]+,' | tr -dc 'I0-9\n' |
                sed 's/.*\(I[0-9]\)/\1/' >"$tmp/asserted"
        both "$invariants" "$tmp/invariants" "what lib/ asserts" "$tmp/asserted"
        sed -n 's/^ *VIOLATION(\(I[0-9]*\), .*/\1/p' "$breaks" 2>"$tmp/messages" >"$tmp/broken" || true
        both "$invariants" "$tmp/invariants" "$breaks" "$tmp/broken"
fi
finish "lists are kept"

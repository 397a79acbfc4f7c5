#!/bin/sh
# The table of intents (lib/layout/intents.h) and "The intents" in doc/recovery.md say the same: each kind, its
# operands, in their order, and the function that settles it; and the step at which it is begun is one that its row
# names.  A dest is the last operand, of those that are said to have one.  Kind, member and name are one word.
. "$(dirname "$0")/common.sh"

table=lib/layout/intents.h
doc=doc/recovery.md
[ -f "$table" ] || finish "no intents"
rows=$doc
[ -f "$doc" ] || rows=/dev/null

awk -v table="$table" -v doc="$doc" '
FILENAME == table {
        if (match($0, /^struct intent_[a-z_]+ \{/)) {
                set = $2
                sub(/^intent_/, "", set)
        } else if (set != "" && match($0, /^ +uint64_t /)) {
                text = substr($0, RSTART + RLENGTH)
                sub(/;.*/, "", text)
                if (text !~ /^pad/)
                        operands[set] = operands[set] (operands[set] == "" ? "" : ", ") text
        } else if ($0 ~ /^};/) {
                set = ""
        } else if (match($0, /X\([A-Z_]+, .*\)/)) {
                n = split(substr($0, RSTART + 2, RLENGTH - 3), field, /, */)
                kind = field[1]
                at[kind] = FILENAME ":" FNR
                set_of[kind] = field[4]
                settle[kind] = field[5]
                name = field[2]
                if (n != 5 || name != tolower(kind))
                        print at[kind] ": " kind " has the member " name
                gsub(/_/, "-", name)
                if (field[3] != "\"" name "\"")
                        print at[kind] ": " kind " has the name " field[3]
        }
        rest = $0
        while (match(rest, /intent_[a-z]+_has_dest = [01]/)) {
                text = substr(rest, RSTART + 7, RLENGTH - 7)
                rest = substr(rest, RSTART + RLENGTH)
                has_dest[substr(text, 1, index(text, "_has_dest") - 1)] = substr(text, length(text))
        }
        next
}
/^\| [A-Z_]+ \| [a-z, ]+ \| [A-Z_]+\.[0-9]+ \| `/ {
        split($0, field, /[ `]*\|[ `]*/)
        kind = field[2]
        where = FILENAME ":" FNR
        row[kind] = where
        if (!(kind in at)) {
                print where ": there is no intent " kind " in " table
                next
        }
        if (field[3] != operands[set_of[kind]])
                print where ": " kind " has the operands " operands[set_of[kind]] ", not " field[3]
        function_of = field[5]
        sub(/`.*/, "", function_of)
        if (function_of != settle[kind])
                print where ": " kind " is settled by " settle[kind] ", not " function_of
        begun[kind] = field[4]
}
END {
        for (kind in at) {
                if (!(kind in row))
                        print at[kind] ": " kind " has no row in " doc
                if (!(set_of[kind] in operands))
                        print at[kind] ": " kind " has operands that are no struct: " set_of[kind]
        }
        for (set in operands)
                if ((operands[set] ~ /(^|, )dest$/) != has_dest[set])
                        print table ": intent_" set "_has_dest is " has_dest[set] ", of " operands[set]
        for (kind in begun)
                print kind, begun[kind], row[kind] >"'"$tmp"'/begun"
}' "$table" "$rows" | LC_ALL=C sort | violation

# The step at which an intent is begun stands beside the call that begins it.
: >>"$tmp/begun"
while read -r kind step where; do
        # shellcheck disable=SC2046
        awk -v kind="$kind" -v step="$step" '
        index($0, "INTENT(" kind ",") { lines = 4 }
        lines-- > 0 && $0 ~ ("/\\* " step "[ ,:]") { found = 1 }
        END { exit !found }' $(files c lib) || violation "$where: $kind is not begun at $step, by the comment beside it"
done <"$tmp/begun"
finish "$(wc -l <"$tmp/begun") intents have their rows"

#!/bin/sh
# modules.sh - what tests/modules.txt says, for ctest and for people.
#
#   modules.sh SOURCE_DIR labels NAMES   for a file of test names: the labels m:MODULE of each, as ctest reads them
#   modules.sh SOURCE_DIR unused NAMES   tests of modules.txt that are not there, modules without any, as file:line: ...
#   modules.sh SOURCE_DIR table          the table of CONTRIBUTING.md
#   modules.sh SOURCE_DIR write          writes it there
set -eu
cd "${1:?usage: modules.sh SOURCE_DIR labels|unused|table|write [NAMES]}"
what=${2:?}
names=${3:-/dev/null}
list=tests/modules.txt
document=CONTRIBUTING.md
begin='<!-- modules: written by tests/modules.sh -->'
end='<!-- end of modules -->'

# planted   lines of TEST FILE: planted bugs and the file of lib/ that each is planted in
planted() {
        for patch in tests/crash/planted/*.patch; do
                [ -f "$patch" ] || continue
                sed -n "s,^--- a/lib/,crash/planted/$(basename "$patch" .patch) ,p" "$patch"
        done
        [ ! -f tests/explore/plant.sh ] || awk '
                /^[a-z-]+\)$/ { name = substr($0, 1, length($0) - 1) }
                match($0, /^ *file=[^ ]+/) {
                        sub(/^ *file=/, "")
                        sub(/ .*/, "")
                        print "explore/plant-" name, $0
                }' tests/explore/plant.sh
}

# match   runs an awk program END on what is known: n modules, module[m], line[m], n_patterns[m], pattern[m, p],
#         hits[m, p], n_names, name[i], labels[i]
match() {
        planted | awk -v list="$list" -v names="$names" '
# The keys of a test by which modules.txt may name it: key[1..n].
function keys_of(test,    n, kind, rest, i, part) {
        n = 1
        sub(/^[at]san\//, "", test)
        key[1] = test
        kind = test
        sub(/\/.*/, "", kind)
        rest = substr(test, length(kind) + 2)
        if (kind ~ /^(unit|multi|regress|stress)$/ && rest ~ /_(tiny|more|slow|leaks)$/) {
                while (sub(/_(tiny|more|slow|leaks)$/, "", rest))
                        key[++n] = kind "/" rest
        } else if (kind == "explore") {
                sub(/^slow-/, "", rest)
                key[1] = kind "/" rest
        } else if (kind == "model") {
                sub(/-(large|mutant-.*)$/, "", rest)
                key[1] = kind "/" rest
        } else if (kind == "crash" && rest !~ /^planted\//) {
                sub(/^[^\/]*\//, "", rest)
                n = split(rest, part, ",")
                for (i = 1; i <= n; i++)
                        key[i] = kind "/" part[i]
        }
        return n
}
# Kinds of tests that a build may be without: by its processor, sanitizer, or what is installed.
function is_left_out(pattern) {
        sub(/\/.*/, "", pattern)
        return pattern ~ /^(crash|daemon|examples|explore|hits|hostile|kvcache|model|numa|plugin)$/ &&
                !(pattern in kinds)
}
function regex(glob) {
        gsub(/[.+()]/, "[&]", glob)
        gsub(/\*/, ".*", glob)
        return "^" glob "$"
}
BEGIN {
        while ((getline text < list) > 0) {
                n_lines++
                if (text ~ /^(#|[ \t]*$)/)
                        continue
                split(text, field, /: */)
                module[++n] = field[1]
                line[n] = list ":" n_lines
                n_files[n] = split(field[2], part, " ")
                for (i = 1; i <= n_files[n]; i++) {
                        file[n, i] = part[i]
                        of_file[part[i]] = n
                }
                n_patterns[n] = split(field[3], part, " ")
                for (i = 1; i <= n_patterns[n]; i++) {
                        pattern[n, i] = part[i]
                        expression[n, i] = regex(part[i])
                }
        }
        while ((getline text < names) > 0)
                name[++n_names] = text
}
{
        stem = $2
        sub(/\.[ch]$/, "", stem)
        if (stem in of_file)
                planted_in[$1] = of_file[stem]
}
END {
        for (t = 1; t <= n_names; t++) {
                n_keys = keys_of(name[t])
                kind_of = key[1]
                sub(/\/.*/, "", kind_of)
                kinds[kind_of] = 1
                split("", has)
                for (k = 1; k <= n_keys; k++) {
                        if (!(key[k] in known)) {
                                known[key[k]] = ""
                                for (m = 1; m <= n; m++)
                                        for (p = 1; p <= n_patterns[m]; p++)
                                                if (key[k] ~ expression[m, p]) {
                                                        hits[m, p] = 1
                                                        known[key[k]] = known[key[k]] " " m
                                                }
                                if (key[k] in planted_in)
                                        known[key[k]] = known[key[k]] " " planted_in[key[k]]
                        }
                        n_of = split(known[key[k]], of, " ")
                        for (i = 1; i <= n_of; i++)
                                if (!(of[i] in has)) {
                                        has[of[i]] = 1
                                        labels[t] = labels[t] ";m:" module[of[i]]
                                }
                }
        }
}
'"$1"
}

table() {
        echo "$begin"
        echo
        echo '| files | label | tests that aim at it |'
        echo '|---|---|---|'
        match 'END {
                for (m = 1; m <= n; m++) {
                        files = tests = ""
                        for (i = 1; i <= n_files[m]; i++)
                                files = files (i > 1 ? ", " : "") "`" file[m, i] "`"
                        for (p = 1; p <= n_patterns[m]; p++)
                                tests = tests (p > 1 ? ", " : "") "`" pattern[m, p] "`"
                        print "| " files " | `m:" module[m] "` | " tests " |"
                }
        }'
        echo
        echo "$end"
}

case $what in
labels)
        match 'END {
                for (t = 1; t <= n_names; t++)
                        if (labels[t] != "")
                                print "set_tests_properties(\"" name[t] "\" PROPERTIES LABELS \"" \
                                        substr(labels[t], 2) "\")"
        }'
        ;;
unused)
        match 'END {
                for (m = 1; m <= n; m++) {
                        if (n_patterns[m] == 0)
                                print line[m] ": no test aims at " module[m]
                        for (p = 1; p <= n_patterns[m]; p++)
                                if (!((m, p) in hits) && !is_left_out(pattern[m, p]))
                                        print line[m] ": " module[m] ": there is no test " pattern[m, p]
                }
        }'
        ;;
table) table ;;
write)
        [ -n "$(grep -Fx "$begin" "$document")" ] || { echo "$document has no line $begin" >&2 && exit 1; }
        table >"$document.table"
        awk -v begin="$begin" -v end="$end" -v table="$document.table" '
                $0 == begin { while ((getline text < table) > 0) print text; skips = 1 }
                !skips { print }
                $0 == end { skips = 0 }' "$document" >"$document.new"
        mv "$document.new" "$document"
        rm "$document.table"
        ;;
*)
        echo "modules.sh: unknown: $what" >&2
        exit 2
        ;;
esac

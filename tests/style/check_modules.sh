#!/bin/sh
# Each file of lib/ is in one module of tests/modules.txt, each module has tests, each test that it names is there,
# each test of the library is named by a module, unit/X by the module X; and the table in CONTRIBUTING.md is what
# tests/modules.sh makes of it (sh tests/modules.sh . write).
. "$(dirname "$0")/common.sh"

list=tests/modules.txt
names=${SHMALLOC_TEST_NAMES:?names the list of all tests}
modules=$style_dir/../modules.sh
[ -f "$list" ] || finish "no modules"

files "c h" lib | sed 's,^lib/,,; s,\.[ch]$,,' | LC_ALL=C sort -u >"$tmp/stems"
awk -F': *' -v list="$list" '
FILENAME == list && /^(#|[ \t]*$)/ { next }
FILENAME == list {
        where = FILENAME ":" FNR
        if ($1 in module)
                print where ": there is a module " $1 " already: " module[$1]
        module[$1] = where
        n = split($2, part, " ")
        for (i = 1; i <= n; i++) {
                if (part[i] in of)
                        print where ": " part[i] " is in the module " of[part[i]] ", too"
                of[part[i]] = $1
                at[part[i]] = where
        }
        next
}
{
        there[$0] = 1
        if (!($0 in of))
                print "lib/" $0 ": in no module of " list
}
END {
        for (stem in of)
                if (!(stem in there))
                        print at[stem] ": there is no lib/" stem ".c or .h"
}' "$list" "$tmp/stems" | LC_ALL=C sort | violation

sh "$modules" . unused "$names" | violation
sh "$modules" . labels "$names" >"$tmp/labels"
awk -v list="$list" '
FILENAME == list {
        if ($0 !~ /^(#|[ \t]*$)/) {
                sub(/:.*/, "")
                module[$0] = 1
        }
        next
}
FILENAME ~ /\/labels$/ { split($0, part, "\""); labels[part[2]] = ";" part[4] ";"; next }
/^([at]san\/)?(unit|multi|regress|stress|explore|crash|model|hostile|hits|kvcache)\// {
        if ($0 ~ /^model\/selftest/)
                next
        if (!($0 in labels))
                print "the test " $0 " is named by no module of " list
        name = $0
        if (sub(/^([at]san\/)?unit\//, "", name) && name in module && index(labels[$0], ";m:" name ";") == 0)
                print "the test " $0 " is not named by the module " name " of " list
}' "$list" "$tmp/labels" "$names" | violation

sh "$modules" . table >"$tmp/table"
sed -n '/^<!-- modules: /,/^<!-- end of modules/p' CONTRIBUTING.md >"$tmp/written" 2>"$tmp/messages" || true
cmp -s "$tmp/table" "$tmp/written" ||
        violation "CONTRIBUTING.md: its table of modules is not that of $list: sh tests/modules.sh . write"
finish "$(wc -l <"$tmp/stems") files of lib/ and $(wc -l <"$tmp/labels") tests are in modules"

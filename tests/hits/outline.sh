#!/bin/sh
# How a miss of malloc, a free that drains and a reap read, counted from a trace of one call of each (outline.c) in a
# library in which nothing is inlined.  Usage: outline.sh OUTLINE_PROGRAM SOURCE_DIR [all]; with `all` it prints the
# calls, too.
#
#   calls       functions of lib/*/*.c that were entered.  What a header defines is vocabulary, and part of who uses it.
#   functions   different ones;  files, layers: where these stand
#   borders     calls from one layer into another
#   depth       of the deepest call, the public function being 1
#   classified  functions entered that turn a size into a class: by size_class_for(), size_class_of*(), or the table of
#               sizes (before: request_classify()).  The first is the hit path.
#   built       places in the functions entered that make what the call is about, or a copy of it: call_begin(), or a
#               struct call, visit or thread (before: request, goal, entry) by value
#   back up     of the layers that decide (api, tcache, heap, blocks, pages): entries from a layer above into one that
#               this call had entered from above before, and left.  Each is a "no" that is answered above, or one more
#               step that the layer above knows of.  Functions that call none of lib/ are questions, and do not count.
#   callbacks   calls from a layer into one above it, by a pointer
set -eu
outline=$1
cd "$2"
all=${3:-}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

"$outline" >"$tmp/trace"
awk '$1 == ">" && !seen[$2]++ { print $2 }' "$tmp/trace" >"$tmp/addresses"
# address function file:line
addr2line -f -s -e "$outline" <"$tmp/addresses" >"$tmp/short"
addr2line -e "$outline" <"$tmp/addresses" | sed 's/ (discriminator.*//' >"$tmp/places"
awk 'NR % 2' "$tmp/short" | paste -d' ' "$tmp/addresses" - "$tmp/places" >"$tmp/functions"

awk -v all="$all" '
# What the body of a function says: line numbers from where it begins to the brace in the first column.
function read_body(file, line,    text, n, is_in) {
        n_classified = n_built = 0
        while ((getline text < file) > 0) {
                n++
                is_in = is_in || n >= line
                if (!is_in)
                        continue
                if (text ~ /(request_classify|size_class_for|size_class_of(_aligned)?)\(|by_size\[[^0]/)
                        n_classified = 1
                if (text ~ /^ +(const )?struct (request|goal|entry|call|visit|thread) [a-z_]+( =|,|;|\[)/ || \
                    text ~ /[^_]call_begin\(/)
                        n_built++
                if (text ~ /^}/)
                        break
        }
        close(file)
}
function enter(f,    from, to) {
        from = depth > 0 ? layer[stack[depth]] : ""
        to = layer[f]
        if (depth > 0)
                count_entry(depth) # it calls something
        stack[++depth] = f
        is_from_above[depth] = from != to && to in rank && (!(from in rank) || rank[from] < rank[to])
        line_of[depth] = ++n_lines
        if (depth > deepest)
                deepest = depth
        n_calls++
        n_functions += !seen["function", f]++
        n_files += !seen["file", file[f]]++
        n_layers += !seen["layer", to]++
        n_borders += from != "" && from != to
        n_callbacks += from in height && height[from] < height[to]
        classified += classifies[f]
        built += builds[f]
        line[n_lines] = sprintf("%*s%s  %s%s%s", 2 * depth, "", name[f], file[f], \
                classifies[f] ? "  classifies" : "", builds[f] ? "  builds" : "")
}
function count_entry(at,    to) {
        if (!is_from_above[at])
                return
        is_from_above[at] = 0
        to = layer[stack[at]]
        if (!entered[to]++)
                return
        back_up++
        again[to]++
        line[line_of[at]] = line[line_of[at]] "  again"
}
function finish() {
        if (what == "")
                return
        printf "%-6s %6d %10d %6d %7d %8d %6d %11d %6d %8d %10d  ", what, n_calls, n_functions, n_files, n_layers, \
                n_borders, deepest, classified, built, back_up, n_callbacks
        for (i = 1; i <= n_deciding; i++)
                if (again[deciding[i]] > 0)
                        printf " %s %d", deciding[i], again[deciding[i]]
        print ""
        for (i = 1; all != "" && i <= n_lines; i++)
                if (line[i] != line[i - 1])
                        print line[i]
}
BEGIN {
        n_deciding = split("api tcache heap blocks pages", deciding, " ")
        for (i = 1; i <= n_deciding; i++)
                rank[deciding[i]] = i
        n = split("base layout os region clients pages blocks heap audit tcache api", names, " ")
        for (i = 1; i <= n; i++)
                height[names[i]] = i
        print "call    calls  functions  files  layers  borders  depth  classified  built  back up  callbacks"
}
FNR == NR {
        name[$1] = $2
        place = $3
        sub(/.*\/lib\//, "lib/", place)
        split(place, part, ":")
        if (part[1] !~ /^lib\/[a-z]*\/[a-z_]*\.c$/)
                next
        file[$1] = part[1]
        split(part[1], folder, "/")
        layer[$1] = folder[2]
        read_body(part[1], part[2] + 0)
        classifies[$1] = $2 ~ /_classify$|^size_class_(of|for)/ ? 0 : n_classified
        builds[$1] = n_built
        next
}
$1 == "trace" {
        finish()
        what = $2
        n_calls = n_functions = n_files = n_layers = n_borders = n_callbacks = deepest = 0
        classified = built = back_up = 0
        depth = n_lines = 0
        split("", seen); split("", entered); split("", again)
        next
}
$1 == "<" && ($2 in layer) { depth--; next }
$1 == ">" && ($2 in layer) { enter($2) }
END { finish() }
' "$tmp/functions" "$tmp/trace"

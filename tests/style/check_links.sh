#!/bin/sh
# What documents (*.md) refer to is there: the file of each relative link, and the heading that it names; and each file
# of the tree that is named, by its path (from the root, the document's folder, or lib/ and tests/, whose layers and
# kinds are named without them) or, in backquotes, by its last part.
. "$(dirname "$0")/common.sh"

find . \( -name .git -o -name 'build*' \) -prune -o -type f -print | sed 's|^\./||' | LC_ALL=C sort >"$tmp/tree"
set -- $(grep '\.md$' "$tmp/tree")
[ $# -gt 0 ] || finish "no documents"

awk -v tree="$tmp/tree" '
# The path without "x/.." and "."
function plain(path,    n, part, i, out, depth) {
        n = split(path, part, "/")
        depth = 0
        for (i = 1; i <= n; i++)
                if (part[i] == "..")
                        depth--
                else if (part[i] != "." && part[i] != "")
                        out[++depth] = part[i]
        path = ""
        for (i = 1; i <= depth; i++)
                path = path (i > 1 ? "/" : "") out[i]
        return path
}
function slug(heading) {
        heading = tolower(heading)
        gsub(/[^a-z0-9 _-]/, "", heading)
        gsub(/ /, "-", heading)
        return heading
}
function folder(path) {
        return path ~ /\// ? substr(path, 1, match(path, /[^\/]*$/) - 1) : ""
}
# Each reference is looked up when all headings are known.
function refer(kind, name) {
        where[++n_refs] = FILENAME ":" FNR
        from[n_refs] = folder(FILENAME)
        is_link[n_refs] = kind == "link"
        target[n_refs] = name
        document[n_refs] = FILENAME
}
BEGIN {
        while ((getline path < tree) > 0) {
                there[path] = 1
                last = path
                sub(/.*\//, "", last)
                named[last] = 1
                while (path ~ /\//) {
                        sub(/\/[^\/]*$/, "", path)
                        there[path] = 1
                        there[path "/"] = 1
                }
        }
        suffix = "\\.(c|h|cpp|md|sh|awk|cmake|pml|map|patch|py|txt)"
}
FNR == 1 { in_code = 0 }
/^```/ { in_code = !in_code }
!in_code && /^#+ / { heading[FILENAME "#" slug(substr($0, index($0, " ") + 1))] = 1 }
{
        text = $0
        while (!in_code && match(text, /\]\([^)]*\)/)) {
                link = substr(text, RSTART + 2, RLENGTH - 3)
                text = substr(text, 1, RSTART) " " substr(text, RSTART + RLENGTH)
                if (link !~ /^[a-z]+:/)
                        refer("link", link)
        }
        rest = text
        while (match(rest, "[A-Za-z0-9_.][A-Za-z0-9_./-]*" suffix)) {
                name = substr(rest, RSTART, RLENGTH)
                before = RSTART > 1 ? substr(rest, RSTART - 1, 1) : ""
                after = substr(rest, RSTART + RLENGTH, 1)
                rest = substr(rest, RSTART + RLENGTH)
                if (before ~ /[\/*?<$>~}-]/ || after ~ /[A-Za-z0-9_*\/-]/)
                        continue # a part of a pattern, of an absolute path, of a longer word
                if (name ~ /^build\// || name == "CMakeCache.txt" || name ~ /(^|\/)[A-Z]+\.[a-z]+$/ && name !~ /\.md$/)
                        continue # made by a build; any file of a kind, as NAME.patch
                if (name ~ /\// || before == "`" && after == "`")
                        refer("name", name)
        }
}
END {
        for (i = 1; i <= n_refs; i++) {
                name = target[i]
                if (is_link[i]) {
                        file = name
                        anchor = ""
                        if (match(name, /#/)) {
                                file = substr(name, 1, RSTART - 1)
                                anchor = substr(name, RSTART + 1)
                        }
                        file = file == "" ? document[i] : plain(from[i] file)
                        if (!(file in there))
                                print where[i] ": there is no " file
                        else if (anchor != "" && !((file "#" anchor) in heading))
                                print where[i] ": " file " has no heading #" anchor
                        continue
                }
                if (name !~ /\//) {
                        if (!(name in named))
                                print where[i] ": there is no file " name
                } else if (!(plain(name) in there) && !(plain(from[i] name) in there) &&
                                !(("lib/" plain(name)) in there) && !(("tests/" plain(name)) in there) &&
                                !(("include/" plain(name)) in there))
                        print where[i] ": there is no file " name
        }
}' "$@" | LC_ALL=C sort -t: -k1,1 -k2,2n | violation
finish "$# documents name what is there"

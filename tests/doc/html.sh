#!/bin/sh
# The target `html`: each page is made, what it links to is there, headings included, and none is empty.
. "$(dirname "$0")/common.sh"

for program in cmark-gfm mandoc; do
        command -v $program >/dev/null || {
                echo "skipped: there is no $program"
                exit 77
        }
done
sh "$source/doc/html.sh" "$source" "$tmp/html" >"$tmp/out" || fail "doc/html.sh"
cd "$tmp/html"
find . -type f | sed 's,^\./,,' | LC_ALL=C sort >"$tmp/files"
for file in index.html README.html doc/recovery.html man/shheap_open.3.html man/shheap_close.3.html doc/heap.svg; do
        grep -qx "$file" "$tmp/files" || fail "$file is missing"
done
# shellcheck disable=SC2046
awk -v files="$tmp/files" '
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
BEGIN {
        while ((getline line < files) > 0)
                there[line] = 1
}
FNR == 1 {
        folder = FILENAME
        sub(/[^\/]*$/, "", folder)
}
{
        rest = $0
        while (match(rest, /id="[^"]*"/)) {
                id[FILENAME "#" substr(rest, RSTART + 4, RLENGTH - 5)] = 1
                rest = substr(rest, RSTART + RLENGTH)
        }
        rest = $0
        while (match(rest, /(href|src)="[^"]*"/)) {
                link = substr(rest, RSTART, RLENGTH)
                rest = substr(rest, RSTART + RLENGTH)
                gsub(/^[a-z]*="|"$/, "", link)
                if (link ~ /^[a-z]+:/)
                        continue
                where[++n] = FILENAME ":" FNR
                target[n] = link ~ /^#/ ? FILENAME link : folder link
        }
}
END {
        for (i = 1; i <= n; i++) {
                anchor = ""
                file = target[i]
                if (match(file, /#/)) {
                        anchor = substr(file, RSTART)
                        file = substr(file, 1, RSTART - 1)
                }
                file = plain(file)
                if (!(file in there)) {
                        print where[i] ": there is no " file
                        status = 1
                } else if (anchor != "" && !((file anchor) in id)) {
                        print where[i] ": " file " has no " anchor
                        status = 1
                }
        }
        print n " links"
        exit status
}' $(grep '\.html$' "$tmp/files") >"$tmp/links" || {
        cat "$tmp/links"
        fail "links"
}
for file in $(grep '\.html$' "$tmp/files"); do
        [ "$(wc -c <"$file")" -gt 150 ] || fail "$file is empty"
done
echo "ok: $(wc -l <"$tmp/files") files, $(cat "$tmp/links")"

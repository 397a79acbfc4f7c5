#!/bin/sh
# Makes everything that is to be read about shmalloc readable by a browser: the documents (*.md) by cmark-gfm, the
# manual pages by mandoc, source files that documents link to as they are, and an index.  The target `html` runs it.
#
#   html.sh SOURCE_DIR OUTPUT_DIR
set -eu
[ $# -eq 2 ] || {
        echo "usage: $0 SOURCE_DIR OUTPUT_DIR" >&2
        exit 2
}
missing=
for program in cmark-gfm mandoc; do
        command -v $program >/dev/null || missing="$missing $program"
done
[ -z "$missing" ] || {
        echo "$0: missing:$missing (Debian's packages of these names)" >&2
        exit 2
}
LC_ALL=C.UTF-8
export LC_ALL
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$1"
rm -rf "$out/doc" "$out/man" "$out/.work"
mkdir -p "$out/man" "$out/.work"
work=$out/.work
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

cat >"$out/style.css" <<'END'
body { max-width: 56em; margin: 1em auto; padding: 0 1em; font: 16px/1.5 sans-serif; color: #222; background: #fff; }
nav, footer { font-size: 14px; color: #666; }
a { color: #0550ae; }
code, pre, .Nm, .Fn, .Dv, .Li { font-family: monospace; font-size: 14px; }
pre { background: #f4f4f4; padding: .7em; overflow-x: auto; line-height: 1.35; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
main td, main th { border: 1px solid #ccc; padding: .2em .6em; vertical-align: top; text-align: left; }
img { max-width: 100%; }
h1, h2, h3 { line-height: 1.2; }
table.head, table.foot { width: 100%; display: table; color: #666; }
a.permalink, a.In { color: inherit; text-decoration: none; }
main table.head td, main table.foot td, main table.Nm td { border: 0; text-align: inherit; }
main table.head td.head-vol { text-align: center; }
main table.head td.head-rtitle, main table.foot td.foot-date, main table.foot td.foot-os { text-align: right; }
.Bl-tag > dt { margin-top: .4em; }
.Bl-compact > dt { margin-top: 0; }
@media (prefers-color-scheme: dark) {
        body { color: #ddd; background: #161616; }
        a { color: #79b8ff; }
        pre { background: #242424; }
        main td, main th { border-color: #444; }
        img { background: #fff; }
}
END

# page TITLE UP   its beginning; the content and page_end follow
page() {
        printf '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        printf '<meta name="viewport" content="width=device-width">\n<title>%s</title>\n' "$1"
        printf '<link rel="stylesheet" href="%sstyle.css">\n</head>\n<body>\n' "$2"
        printf '<nav><a href="%sindex.html">shmalloc: all pages</a></nav>\n<main>\n' "$2"
}
page_end() {
        printf '</main>\n</body>\n</html>\n'
}
# up PATH   the way from the folder of PATH to the top: ../ for each folder
up() {
        case $1 in
        */*) dirname "$1" | sed 's,[^/]*,..,g; s,$,/,' ;;
        esac
}
escaped() {
        sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g' "$@"
}
title_of() {
        sed -n 's/^# *//p' "$1" | head -n 1 | tr -d '`' | escaped
}

# ------------------------------------------------------------------ manual pages

# Those that a page may refer to have to be there before, or mandoc takes them for somebody else's.
for file in doc/man/*.[1-8]; do
        name=$(basename "$file")
        : >"$out/man/$name.html"
        sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([^ ]*\).*/\1/p' "$file" | while read -r alias; do
                other=$alias.${name##*.}
                [ "$other" != "$name" ] || continue
                printf '<!DOCTYPE html>\n<meta charset="utf-8">\n<title>%s</title>\n' "$alias" >"$out/man/$other.html"
                printf '<meta http-equiv="refresh" content="0; url=%s.html">\n<a href="%s.html">%s</a>\n' \
                        "$name" "$name" "$name" >>"$out/man/$other.html"
        done
done
for file in doc/man/*.[1-8]; do
        name=$(basename "$file")
        (cd "$out/man" && mandoc -T html \
                -O "fragment,man=%N.%S.html;https://manpages.debian.org/%N.%S" "$OLDPWD/$file") >"$work/page"
        {
                page "${name%.*}(${name##*.})" ../
                cat "$work/page"
                page_end
        } >"$out/man/$name.html"
done

# ------------------------------------------------------------------ documents

find . \( -name .git -o -name 'build*' -o -path "./${out#"$PWD/"}" \) -prune -o \( -type f -print -o -type d -print \) |
        sed 's,^\./,,' >"$work/tree"
find . \( -name .git -o -name 'build*' \) -prune -o -type d -print | sed 's,^\./,,' >"$work/folders"
grep '\.md$' "$work/tree" | LC_ALL=C sort >"$work/documents"
: >"$work/linked"

while read -r file; do
        mkdir -p "$out/$(dirname "$file")"
        {
                page "$(title_of "$file")" "$(up "$file")"
                cmark-gfm -e table -e strikethrough "$file" | awk -v file="$file" -v tree="$work/tree" \
                        -v folders="$work/folders" -v linked="$work/linked" '
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
# Where the page of a linked file is.
function place(link,    anchor, target) {
        if (link ~ /^[a-z]+:/ || link ~ /^#/)
                return link
        anchor = ""
        if (match(link, /#/)) {
                anchor = substr(link, RSTART)
                link = substr(link, 1, RSTART - 1)
        }
        target = plain(folder link)
        if (target in is_folder) {
                print target "/" >>linked
                return link (link ~ /\/$/ ? "" : "/") "index.html"
        }
        if (link ~ /\.md$/) {
                sub(/\.md$/, ".html", link)
                return link anchor
        }
        if (link ~ /\.(svg|png)$/) {
                print target >>linked
                return link
        }
        if (target ~ /^doc\/man\//) {
                sub(/doc\/man\//, "man/", link)
                if (folder == "doc/" && link ~ /^man\//)
                        link = "../" link
                return link ".html"
        }
        if (target in there)
                print target >>linked
        return link ".html" anchor
}
function slug(text) {
        gsub(/<[^>]*>/, "", text)
        gsub(/&[a-z]+;/, "", text)
        text = tolower(text)
        gsub(/[^a-z0-9 _-]/, "", text)
        gsub(/ /, "-", text)
        return text
}
BEGIN {
        folder = file
        sub(/[^\/]*$/, "", folder)
        while ((getline line < tree) > 0)
                there[line] = 1
        while ((getline line < folders) > 0)
                is_folder[line] = 1
}
match($0, /^<h[1-6]>/) {
        $0 = substr($0, 1, 3) " id=\"" slug($0) "\"" substr($0, 4)
}
{
        rest = $0
        line = ""
        while (match(rest, /(href|src)="[^"]*"/)) {
                attribute = substr(rest, RSTART, RLENGTH)
                quote = index(attribute, "\"")
                line = line substr(rest, 1, RSTART - 1) substr(attribute, 1, quote)
                rest = substr(rest, RSTART + RLENGTH)
                line = line place(substr(attribute, quote + 1, length(attribute) - quote - 1)) "\""
        }
        print line rest
}'
                page_end
        } >"$out/${file%.md}.html"
done <"$work/documents"

# What they link to: pictures, sources, and folders by what is in them.
LC_ALL=C sort -u "$work/linked" | while read -r target; do
        case $target in
        */)
                mkdir -p "$out/$target"
                {
                        page "$target" "$(up "${target}x")"
                        printf '<h1>%s</h1>\n<ul>\n' "$target"
                        for file in "$target"*; do
                                name=$(basename "$file")
                                case $name in
                                *.md)
                                        printf '<li><a href="%s.html">%s</a></li>\n' "${name%.md}" \
                                                "$(title_of "$file")"
                                        ;;
                                *) printf '<li>%s</li>\n' "$name" ;;
                                esac
                        done
                        printf '</ul>\n'
                        page_end
                } >"$out/${target}index.html"
                ;;
        *.svg | *.png)
                mkdir -p "$out/$(dirname "$target")"
                cp "$target" "$out/$target"
                ;;
        *)
                mkdir -p "$out/$(dirname "$target")"
                {
                        page "$target" "$(up "$target")"
                        printf '<h1>%s</h1>\n<pre>' "$target"
                        escaped "$target"
                        printf '</pre>\n'
                        page_end
                } >"$out/$target.html"
                ;;
        esac
done

# ------------------------------------------------------------------ the index

# entries FILE...   of the documents among these that there are
entries() {
        printf '<ul>\n'
        for file; do
                [ -f "$file" ] || continue
                printf '<li><a href="%s.html">%s</a> <small>%s</small></li>\n' "${file%.md}" \
                        "$(title_of "$file")" "$file"
        done
        printf '</ul>\n'
}
# manuals SECTION HEADING
manuals() {
        printf '<h2>%s</h2>\n<table>\n' "$2"
        for file in doc/man/*."$1"; do
                name=$(basename "$file")
                names=$(sed -n '/^\.Sh NAME/,/^\.Nd/s/^\.Nm \([^ ]*\).*/\1/p' "$file" | tr '\n' ' ')
                printf '<tr><td><a href="man/%s.html">%s(%s)</a></td><td>%s<br><small>%s</small></td></tr>\n' "$name" \
                        "${name%.*}" "${name##*.}" "$(sed -n 's/^\.Nd //p' "$file" | escaped)" "$names"
        done
        printf '</table>\n'
}
{
        page "shmalloc: all pages" ""
        printf '<h1>shmalloc: all pages</h1>\n<h2>To begin with</h2>\n'
        entries README.md doc/tutorial.md doc/porting.md examples/README.md
        printf '<h2>To run it</h2>\n'
        entries doc/requirements.md doc/containers.md doc/troubleshooting.md doc/limits.md doc/daemon.md SECURITY.md
        manuals 3 "The functions"
        manuals 7 "In general"
        manuals 1 "Tools"
        manuals 5 "Files"
        manuals 8 "The daemon"
        printf '<h2>All documents</h2>\n'
        # shellcheck disable=SC2046
        entries $(grep -v '^doc/decisions/' "$work/documents")
        printf '<h2>Decisions</h2>\n'
        entries doc/decisions/*.md
        page_end
} >"$out/index.html"
echo "$(find "$out" -name '*.html' | wc -l) pages: $out/index.html"

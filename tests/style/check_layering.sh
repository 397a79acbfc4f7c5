#!/bin/sh
# A file in lib/<layer>/ includes headers of its own and of earlier layers only, each named with its layer; the public
# header is known from lib/region/ upwards.
. "$(dirname "$0")/common.sh"

layers="base layout os region clients pages blocks heap audit tcache api"

# Standard input would be read if there were no files.
set -- $(files "c h" lib)
[ $# -gt 0 ] || finish "no files in lib/"

awk -v strings=1 -f "$style_dir/strip.awk" "$@" | awk -v layers="$layers" '
BEGIN {
        n = split(layers, names, " ")
        for (i = 1; i <= n; i++)
                rank[names[i]] = i
        FS = ":"
}
{
        where = $1 ":" $2
        split($1, path, "/")
        layer = path[2]
        if (!(layer in rank) || path[4] != "") {
                if ($2 == 1)
                        print where ": not in a folder of a layer (" layers ")"
                next
        }
        text = substr($0, length(where) + 2)
        if (text !~ /^[ \t]*#[ \t]*include/)
                next
        if (text ~ /</) {
                if (text ~ /<shmalloc\// && rank[layer] < rank["region"])
                        print where ": " layer "/ may not know the public header"
                next
        }
        split(text, quoted, "\"")
        header = quoted[2]
        if (header ~ /^shmalloc\//)
                print where ": the public header is included as <" header ">"
        else if (split(header, part, "/") != 2 || !(part[1] in rank))
                print where ": \"" header "\" does not name its layer as in \"blocks/slab.h\""
        else if (rank[part[1]] > rank[layer])
                print where ": " layer "/ may not include \"" header "\": " part[1] "/ is a later layer"
}' | violation
finish "$# files include only their own and earlier layers"

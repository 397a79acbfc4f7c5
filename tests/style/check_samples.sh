#!/bin/sh
# A block of code in a document that stands below <!-- FILE --> is that file, as it is.
. "$(dirname "$0")/common.sh"

n=0
for page in $(files md doc) README.md; do
        [ -f "$page" ] || continue
        grep -n '^<!-- [^ ]*/[^ ]* -->$' "$page" | sed 's/^\([0-9]*\):<!-- \(.*\) -->$/\1 \2/' >"$tmp/samples"
        while read -r line file; do
                n=$((n + 1))
                awk -v line="$line" 'NR == line + 1 && !/^```/ { exit }
                        NR > line + 1 { if (/^```$/) exit; print }' "$page" >"$tmp/shown"
                if [ ! -f "$file" ]; then
                        violation "$page:$line: there is no $file"
                elif ! cmp -s "$tmp/shown" "$file"; then
                        violation "$page:$line: does not show $file as it is"
                fi
        done <"$tmp/samples"
done
finish "$n files are shown as they are"

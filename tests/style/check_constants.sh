#!/bin/sh
# Nobody needs the macros of the public header to bind the library: a macro that is a constant has an enum of its name,
# or is the value of one; one with arguments that gives a value has a function (SHA_NODE: shheap_flag_node); and no
# function is inline.
. "$(dirname "$0")/common.sh"

header=include/shmalloc/shmalloc.h
[ -f "$header" ] || finish "no public header"
code "$header" | sed 's/^[^:]*:[^:]*://' >"$tmp/code"
code "$header" | grep -E ':[^#]*\binline\b' | sed 's/:[^:]*$/: a function that is inline has no symbol/' | violation

# What enums have, names and values.
tr '\n' ' ' <"$tmp/code" | grep -oE '\benum\b[^{};()]*\{[^}]*\}' | grep -oE '[A-Za-z_][A-Za-z0-9_]*' |
        LC_ALL=C sort -u >"$tmp/enums" || true
grep -oE '\bshheap_flag_[a-z_]*' "$tmp/code" | LC_ALL=C sort -u >"$tmp/functions" || true

# NAME or NAME( and what it is; but attributes, symbols, what begins an initializer, and what is nothing.
sed -n 's/^# *define  *\([A-Za-z_][A-Za-z0-9_]*(*\)/\1 /p' "$tmp/code" |
        grep -vE '__attribute__|SHA_ATTR|__asm__' >"$tmp/macros" || true
while read -r name value; do
        case $name in
        *"(")
                lower=$(echo "${name%"("}" | sed 's/^SHA_//' | tr '[:upper:]' '[:lower:]')
                case ${value#*)} in
                "" | " ") ;;
                *)
                        grep -qx "shheap_flag_$lower" "$tmp/functions" ||
                                violation "$header: ${name%"("} has no function shheap_flag_$lower"
                        ;;
                esac
                ;;
        *)
                case $value in
                "" | "\\") ;;
                *) grep -qx "$name" "$tmp/enums" || violation "$header: $name is a macro and in no enum" ;;
                esac
                ;;
        esac
done <"$tmp/macros"
finish "$(wc -l <"$tmp/enums") names in enums"

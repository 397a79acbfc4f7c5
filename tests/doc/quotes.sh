#!/bin/sh
# What doc/tutorial.md quotes (```c) stands in the programs that it is about, line by line.
. "$(dirname "$0")/common.sh"

awk -v document="$source/doc/tutorial.md" '
{ program[FILENAME] = program[FILENAME] $0 "\n" }
END {
        while ((getline line < document) > 0) {
                if (line == "```c") {
                        on = 1
                        quote = ""
                } else if (on && line == "```") {
                        on = 0
                        n++
                        found = 0
                        for (name in program)
                                if (index("\n" program[name], "\n" quote))
                                        found = 1
                        if (!found) {
                                printf "doc/tutorial.md: stands in no program:\n%s", quote
                                status = 1
                        }
                } else if (on) {
                        quote = quote line "\n"
                }
        }
        if (n < 5) {
                print "doc/tutorial.md: quotes nothing"
                status = 1
        }
        exit status
}' "$source"/examples/tutorial/*.c || fail "quotes"
echo "ok: quotes"

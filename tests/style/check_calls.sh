#!/bin/sh
# lib/ never logs, exits or uses the private heap, except where tests/style/allowed_calls.txt says so and why; it
# reads the environment in one file, through secure_getenv.
. "$(dirname "$0")/common.sh"

set -- $(files "c h" lib)
[ $# -gt 0 ] || finish "no files in lib/"
allowed=${ALLOWED_CALLS:-$style_dir/allowed_calls.txt}

code "$@" | awk -v allowed="$allowed" '
BEGIN {
        n = split("printf vprintf puts putchar perror psignal dprintf vdprintf syslog err errx warn warnx error " \
                  "exit _exit _Exit quick_exit abort " \
                  "malloc calloc realloc reallocarray free strdup strndup asprintf vasprintf aligned_alloc " \
                  "posix_memalign memalign valloc open_memstream getline getdelim", names, " ")
        for (i = 1; i <= n; i++)
                call[names[i]] = 1
        m = split("stderr stdout STDERR_FILENO STDOUT_FILENO", names, " ")
        for (i = 1; i <= m; i++)
                object[names[i]] = 1
        while ((getline line < allowed) > 0) {
                if (line ~ /^[ \t]*(#|$)/)
                        continue
                split(line, word, " ")
                ok[word[1], word[2]] = allowed ": " line
        }
}
{
        split($0, place, ":")
        where = place[1] ":" place[2]
        text = substr($0, length(where) + 2)
        if (text ~ /^[ \t]*#[ \t]*include/)
                next
        while (match(text, /[A-Za-z_][A-Za-z0-9_]*/)) {
                name = substr(text, RSTART, RLENGTH)
                before = substr(text, 1, RSTART - 1)
                text = substr(text, RSTART + RLENGTH)
                if (name in object || (name in call && text ~ /^[ \t]*\(/ && before !~ /(\.|->)[ \t]*$/)) {
                        used[place[1], name] = 1
                        if (!((place[1], name) in ok))
                                print where ": " name " is not for lib/ (exceptions: tests/style/allowed_calls.txt)"
                }
                if (name == "getenv")
                        print where ": getenv trusts a set-user-id caller: secure_getenv"
                if (name == "secure_getenv")
                        reads[place[1]] = where
        }
}
END {
        for (key in ok)
                if (!(key in used))
                        print ok[key] ": this exception is not needed"
        for (file in reads)
                n_reads++
        if (n_reads > 1)
                for (file in reads)
                        print reads[file] ": the environment is read in more than one file"
}' | violation
finish "$# files call nothing that a library should not"

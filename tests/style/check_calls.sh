#!/bin/sh
# lib/ never logs, exits or uses the private heap, except where tests/style/allowed_calls.txt says so and why; it
# reads the environment in one file, through secure_getenv.
. "$(dirname "$0")/common.sh"

set -- $(files "c h" lib)
[ $# -gt 0 ] || finish "no files in lib/"

calls "${ALLOWED_CALLS:-$style_dir/allowed_calls.txt}" '
function setup() {
        n = split("printf vprintf puts putchar perror psignal dprintf vdprintf syslog err errx warn warnx error " \
                  "exit _exit _Exit quick_exit abort " \
                  "malloc calloc realloc reallocarray free strdup strndup asprintf vasprintf aligned_alloc " \
                  "posix_memalign memalign valloc open_memstream getline getdelim", names, " ")
        for (i = 1; i <= n; i++)
                call[names[i]] = 1
        m = split("stderr stdout STDERR_FILENO STDOUT_FILENO", names, " ")
        for (i = 1; i <= m; i++)
                object[names[i]] = 1
}
function look(name, is_call) {
        if (name in object || (name in call && is_call))
                forbid(name, "is not for lib/ (exceptions: tests/style/allowed_calls.txt)")
        if (name == "getenv")
                print where ": getenv trusts a set-user-id caller: secure_getenv"
        if (name == "secure_getenv")
                reads[file] = where
}
function at_end() {
        for (file in reads)
                n_reads++
        if (n_reads > 1)
                for (file in reads)
                        print reads[file] ": the environment is read in more than one file"
}' "$@"
finish "$# files call nothing that a library should not"

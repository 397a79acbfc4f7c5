#!/bin/sh
# A program that also uses a library with functions of the same short names, as OpenSHMEM's have them: a source file
# that includes both headers calls this library, or does not compile; one that includes the other header only calls the
# other library; whatever the order of headers and libraries, the language, the compiler and its options.  See
# short_names.c.
#
#   short_names.sh INCLUDE_DIR      SHMALLOC_SO and SHMALLOC_A name the libraries
set -eu
include=$1
here=$(cd "$(dirname "$0")" && pwd)
so=$(cd "$(dirname "$SHMALLOC_SO")" && pwd)
static="$SHMALLOC_A ${SHMALLOC_STATIC_LIBS:?}"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

fail() {
        echo "failed: $*"
        cat "$tmp/log"
        exit 1
}

# The other library.
mkdir "$tmp/h"
cat >"$tmp/h/shmem.h" <<'END'
#ifndef SHMEM_H
#define SHMEM_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
extern int shmem_n_calls;
void *shmalloc(size_t size);
void *shrealloc(void *ptr, size_t size);
void shfree(void *ptr);
#ifdef SHMEM_INLINE
static inline void shmem_shfree(void *ptr)
{
        if (ptr)
                shfree(ptr);
}
#endif
#ifdef __cplusplus
}
#endif
#endif
END
cat >"$tmp/shmem.c" <<'END'
#include "shmem.h"
#include <stdlib.h>
int shmem_n_calls;
void *shmalloc(size_t size) { shmem_n_calls++; return malloc(size); }
void *shrealloc(void *ptr, size_t size) { shmem_n_calls++; return realloc(ptr, size); }
void shfree(void *ptr) { shmem_n_calls++; free(ptr); }
END
# Nobody is to be bound to one of these by accident either.
for name in shcalloc shreallocarray shaligned_alloc shposix_memalign shstrdup shstrndup shmalloc_usable_size shref_of \
        shptr_of shfree_sized shmemalign; do
        echo "void *$name(void); void *$name(void) { shmem_n_calls++; return 0; }"
done >>"$tmp/shmem.c"
"${CC:-cc}" -shared -fPIC -I"$tmp/h" -o "$tmp/libshmem.so" "$tmp/shmem.c"

# try WHAT WHOSE COMPILER OPTION...   of a program that is bound so; true if the compiler took it
try() {
        what=$1
        whose=$2
        shift 2
        "$@" -DWHOSE="\"$whose\"" -D_GNU_SOURCE -I"$tmp/h" -I"$include" -c -o "$tmp/program.o" "$here/short_names.c" \
                >"$tmp/log" 2>&1 || return 1
        for order in $orders; do
                case $order in
                shared) libraries="-L$tmp -lshmem -L$so -lshmalloc" ;;
                static) libraries="-L$tmp -lshmem $static" ;;
                shared-first) libraries="-L$so -lshmalloc -L$tmp -lshmem" ;;
                static-first) libraries="$static -L$tmp -lshmem" ;;
                esac
                # The libraries are words.
                # shellcheck disable=SC2086
                "$1" -O2 "$tmp/program.o" -o "$tmp/program" -Wl,--no-as-needed $libraries -Wl,-rpath,"$tmp:$so" \
                        >"$tmp/log" 2>&1 || fail "$what, linked to $libraries: $*"
                "$tmp/program" >"$tmp/log" 2>&1 || fail "$what, linked to $libraries: $*"
                n=$((n + 1))
        done
}

# both WHAT COMPILER OPTION...
both() {
        what=$1
        shift
        try "$what" ours "$@" -DOURS_FIRST || fail "$what: $* -DOURS_FIRST"
        try "$what" ours "$@" -DTHEIRS_FIRST || fail "$what: $* -DTHEIRS_FIRST"
        try "$what" theirs "$@" -DOURS_HIDDEN || fail "$what: $* -DOURS_HIDDEN"
        try "$what" theirs "$@" || fail "$what: $*"
        # Their header has used the name already: the compiler may refuse the other symbol then.
        if ! try "$what" ours "$@" -DTHEIRS_FIRST -DSHMEM_INLINE; then
                grep -q 'error:.*label' "$tmp/log" || fail "$what: $* -DTHEIRS_FIRST -DSHMEM_INLINE"
        fi
        # A macro would give their symbol to our function, or the other way round.
        if try "$what" ours "$@" -DTHEIRS_FIRST -Dshmalloc=shmem_malloc; then
                fail "$what: the short name is a macro, and nobody minds: $*"
        fi
        grep -q 'error:.*shmalloc' "$tmp/log" || fail "$what: $* -Dshmalloc=shmem_malloc"
}

n=0
orders="shared static" # with theirs first, which used to be taken
warnings="-Wall -Wextra -Werror"
# The warnings are words.
# shellcheck disable=SC2086
orders="shared static shared-first static-first" both C "${CC:-cc}" -std=c11 -O2 $warnings
both "C, link-time optimisation" "${CC:-cc}" -std=gnu11 -O2 -flto
both C++ "${CXX:-c++}" -x c++ -std=c++17 -O2
if command -v clang >/dev/null; then
        # shellcheck disable=SC2086
        both "C, no builtins" clang -std=gnu11 -O0 -fno-builtin $warnings
        both C++ clang++ -x c++ -std=c++17 -O2
fi
echo "ok: $n programs"

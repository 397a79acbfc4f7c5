#!/bin/sh
# The checks can fail: each passes on a small tree that keeps the rules, and fails, naming the place, once a
# violation is planted in it.
set -eu
style_dir=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
tree=$tmp/tree
failed=0
n=0

# A tree in which every rule is kept, and its libraries; written once, then copied.
plant_good() {
        rm -rf "$tree"
        : >"$tmp/allowed"
        : >"$tmp/points"
        cp "$tmp/good_names" "$tmp/names" 2>"$tmp/none" || true
        if [ -d "$tmp/good" ]; then
                cp -r "$tmp/good/tree" "$tree"
                cp "$tmp/good/libx.so" "$tmp/good/libx.a" "$tmp"
                return
        fi
        mkdir -p "$tree/lib/base" "$tree/lib/layout" "$tree/lib/blocks" "$tree/lib/api" "$tree/include/shmalloc" \
                "$tree/doc" "$tree/tests/unit"
        printf '%s\n' 'BasedOnStyle: LLVM' 'IndentWidth: 8' 'BreakBeforeBraces: Linux' \
                'AllowShortFunctionsOnASingleLine: None' 'ColumnLimit: 120' >"$tree/.clang-format"
        cat >"$tree/include/shmalloc/shmalloc.h" <<'END'
#ifndef SHMALLOC_H
#define SHMALLOC_H
#include <stddef.h>
#define SHA_ATTR(...) __attribute__((__VA_ARGS__))
#define SHA_MALLOC_LIKE(dealloc, arg) SHA_ATTR(malloc)
#define SHA_API SHA_ATTR(visibility("default"))
#define SHA_SHORT(name) __asm__("shheap_" #name)
#define SHMALLOC_VERSION_MAJOR 0
#define SHMALLOC_VERSION_MINOR 1
#define SHMALLOC_VERSION_PATCH 2
enum {
        SHHEAP_VERSION_MAJOR = SHMALLOC_VERSION_MAJOR,
        SHHEAP_VERSION_MINOR = SHMALLOC_VERSION_MINOR,
        SHHEAP_VERSION_PATCH = SHMALLOC_VERSION_PATCH,
        SHA_ZERO = 0x040u, /* zeroed */
        SHHEAP_CREATE = 1u << 0 /* if there is none */
};
#define SHA_ZERO ((unsigned)SHA_ZERO)
#define SHA_ALIGN(a) ((unsigned)__builtin_ctzll(a))
#define SHHEAP_INIT { \
        0 }
/*
 *   heap.id     random
 *   stats.used  bytes
 */
#ifdef __cplusplus
extern "C" {
#endif
SHA_API unsigned shheap_flag_align(size_t a);
SHA_API void shfree(void *p) SHA_SHORT(shfree); /* SHA_API void not_this(void); */
SHA_API SHA_MALLOC_LIKE(shfree, 1) SHA_ATTR(alloc_size(1)) void *shmalloc(size_t size) SHA_SHORT(shmalloc);
#ifdef __cplusplus
}
#endif
#endif
END
        cat >"$tree/lib/base/atomic.h" <<'END'
#ifndef BASE_ATOMIC_H
#define BASE_ATOMIC_H
#define load_acquire(ptr) __atomic_load_n((ptr), __ATOMIC_ACQUIRE)
#endif
END
        cat >"$tree/lib/base/verify.h" <<'END'
#ifndef BASE_VERIFY_H
#define BASE_VERIFY_H
#define ASSERT(cond) ((void)sizeof(!(cond)))
#define ASSERT_INVARIANT(no, cond) ASSERT(cond)
static inline int at_least(int a, int b)
{
        ASSERT(a >= b);
        ASSERT_INVARIANT(I1, b < 7 || a >= 7);
        ASSERT(b != 6 || a > 5);
        return a;
}
#endif
END
        cat >"$tree/lib/blocks/slab.h" <<'END'
#ifndef BLOCKS_SLAB_H
#define BLOCKS_SLAB_H
#include "base/atomic.h"
struct slab {
        int n;
        void (*free)(int);
};
#endif
END
        cat >"$tree/lib/layout/intents.h" <<'END'
#ifndef LAYOUT_INTENTS_H
#define LAYOUT_INTENTS_H
#include <stdint.h>
struct intent_block {
        uint64_t head;
        uint64_t pad;
        uint64_t dest;
};
enum { intent_block_has_dest = 1 };
#define INTENTS(X) X(RUN_TO, run_to, "run-to", block, settle_run)
#endif
END
        printf '%s\n' '/*' ' * invariants.h - what is true.' ' *' ' *   I1  all is well' ' */' \
                '#ifndef LAYOUT_INVARIANTS_H' '#define LAYOUT_INVARIANTS_H' '#endif' >"$tree/lib/layout/invariants.h"
        printf '%s\n' 'int violations[] = {' 'VIOLATION(I1, all_is_ill),' '};' >"$tree/tests/unit/test_invariants.c"
        mkdir -p "$tree/lib/audit" "$tree/daemon/ctl" "$tree/daemon/install" "$tree/doc/man"
        cat >"$tree/lib/layout/layout.h" <<'END'
#ifndef LAYOUT_LAYOUT_H
#define LAYOUT_LAYOUT_H
#include <stdint.h>
struct class_counters {
        uint64_t n_filled; /* owner */
        uint64_t n_more;   /* owner  nobody reads it */
};
#endif
END
        cat >"$tree/lib/audit/stats.c" <<'END'
#define HEAP_METRICS(X) X(USED, "used_bytes", "bytes", "in use")
#define CLASS_METRICS(X)                                                                                               \
        X(FILLED, "filled_blocks", "blocks", "of all")                                                                 \
        X(LIVE, "live_blocks", "blocks", "of those")
void count(struct counters *from)
{
        values[CLASS_FILLED] += from->n_filled;
        values[CLASS_LIVE]++;
}
END
        cat >"$tree/lib/api/ctl.c" <<'END'
static const struct name names[] = {
        {"heap.id", get_id},
        {"stats.used", get_used},
};
unsigned known = SHA_ZERO | SHHEAP_CREATE;
int refused = error_set(-1, "no %s of %zu " "bytes", "room", 4);
END
        cat >"$tree/daemon/ctl/main.c" <<'END'
static const struct verb verbs[] = {
        {"ls", verb_ls, "the heaps"},
        {"stat", verb_stat, "one of them"},
};
END
        printf '%s\n' "        local verbs='ls stat'" >"$tree/daemon/install/shmallocctl.bash"
        printf '.Dd November 2, 2026\n.It Cm ls\nAll.\n.It Cm stat\nOne.\n' >"$tree/doc/man/shmallocctl.1"
        {
                printf '.Dd November 2, 2026\n'
                printf '.Sh NAME\n.Nm shmalloc ,\n.Nm shfree ,\n'
                printf '.Nm shheap_flag_align\n.Nd allocate\n.Sh LIBRARY\n.Sh SYNOPSIS\n'
                printf '.Ft "void *"\n.Fn shmalloc "size_t size"\n.Ft void\n.Fn shfree "void *p"\n'
                printf '.Ft unsigned\n.Fn shheap_flag_align "size_t a"\n'
                printf '.Sh %s\n' DESCRIPTION 'RETURN VALUES' EXAMPLES ERRORS 'THREADS AND SIGNALS' DEATH 'SEE ALSO'
                printf '.Xr shfree 3 ,\n.Xr malloc 3\n.Dv SHHEAP_CREATE , SHA_ZERO , SHA_ALIGN .\n'
        } >"$tree/doc/man/shmalloc.3"
        printf '.Dd November 30, 2026\n.Xr shmalloc 3 ,\n.Xr shfree 3 ,\n.Xr shheap_flag_align 3\n' \
                >"$tree/doc/man/shmalloc.7"
        printf '| `no NAME of N bytes` | or more |\n' >"$tree/doc/troubleshooting.md"
        printf '`ls`, and `shmallocctl stat`.\n' >"$tree/doc/daemon.md"
        mkdir -p "$tree/tests/daemon"
        printf '%s\n' 'verbs="ls stat"' >"$tree/tests/daemon/ctl.sh"
        cat >"$tree/lib/blocks/run.c" <<'END'
/*
 * run.c - runs.
 *
 * KEEP            a death after it leaves
 *   .1 kept       nothing
 *   .2, .3 let go, forgotten
 */
#include "layout/intents.h"

/* KEEP.1: kept. */
void run_keep(struct intent_block *in)
{
        intent_begin(INTENT(RUN_TO, run_to, .head = 1)); /* RUN.1 */
        in->head = 1;                                    /* KEEP.2, .3 */
}
END
        cat >"$tree/lib/api/malloc.c" <<'END'
#include <shmalloc/shmalloc.h>

#include "blocks/slab.h"

/* Calls malloc("sleep(1)") and __atomic_load_n() in a comment only. */
void shfree(void *p)
{
        struct slab *slab = p; /* E1.rel: publishes to E1.acq */
        slab->free(load_acquire((size_t *)p)); /* E1.acq: the other end */
}

void *shmalloc(size_t size)
{
        return size ? "printf(x)" : NULL;
}

unsigned shheap_flag_align(size_t a)
{
        return SHA_ALIGN(a);
}
END
        printf '%s\n' '# Where' '' \
                '[edges](memory-ordering.md) [here](#where) `slab.h`, api/malloc.c, `x/*.c`, [up](../lib/)' \
                '' '| runs | RUN, KEEP |' >"$tree/doc/README.md"
        printf '| step | what |\n|---|---|\n| RUN.1 all, as KEEP.3 | - |\n' >"$tree/doc/recovery.md"
        printf '| RUN_TO | head, dest | RUN.1 | `settle_run`: all |\n' >>"$tree/doc/recovery.md"
        printf '| edge | what |\n|---|---|\n| E1 | all |\n' >"$tree/doc/memory-ordering.md"
        printf '%s\n' 'SHMALLOC_0.1 {' global: '        shheap_flag_align;' '        shheap_shfree;' \
                '        shheap_shmalloc;' local: '        *;' '};' >"$tree/lib/shmalloc.map"
        mkdir "$tree/debian"
        printf '%s\n' 'lib.so.0 libshmalloc0 #MINVER#' ' SHMALLOC_0.1@SHMALLOC_0.1 0.1.0' \
                ' shheap_flag_align@SHMALLOC_0.1 0.1.0' ' shheap_shfree@SHMALLOC_0.1 0.1.0' \
                ' shheap_shmalloc@SHMALLOC_0.1 0.1.0' >"$tree/debian/libshmalloc0.symbols"
        printf '%s\n' 'shmalloc (0.1.2-1) unstable; urgency=low' >"$tree/debian/changelog"
        printf '%s\n' 'Package: libshmalloc0' >"$tree/debian/control"
        printf '%s\n' '# Changelog' '' '## 0.1.2 (2026-11-30)' '' '* All.' >"$tree/CHANGELOG.md"
        mkdir -p "$tree/tests/install"
        printf '%s\n' 'find_package(shmalloc 0.1 REQUIRED)' >"$tree/tests/install/CMakeLists.txt"
        printf '%s\n' '/* "heap.id" "stats.used" SHA_ZERO SHA_ALIGN SHHEAP_CREATE */' 'int main(void)' '{' \
                '        return 0;' '}' >"$tree/tests/unit/test_x.c"
        printf '%s\n' 'atomic: base/atomic base/verify: unit/x' 'intents: layout/intents: unit/x' \
                'slab: blocks/slab: unit/x' \
                'run: blocks/run: unit/x crash/f*' 'malloc: api/malloc: unit/x' \
                'layout: layout/layout layout/invariants: unit/x' 'stats: audit/stats api/ctl: unit/x' \
                >"$tree/tests/modules.txt"
        printf '%s\n' unit/x unit/x_tiny crash/kill/fill crash/two/fill,drain style/x >"$tmp/good_names"
        printf '%s\n' '<!-- modules: written by tests/modules.sh -->' '<!-- end of modules -->' >"$tree/CONTRIBUTING.md"
        cp "$style_dir/../modules.sh" "$tree/tests"
        sh "$style_dir/../modules.sh" "$tree" write
        (cd "$tree" && "${CLANG_FORMAT:-clang-format}" -i include/shmalloc/*.h lib/*/*.[ch] daemon/*/*.c \
                tests/unit/test_invariants.c)
        link_libraries "$tree/lib/shmalloc.map"
        cp "$tmp/good_names" "$tmp/names"
        mkdir "$tmp/good"
        cp -r "$tree" "$tmp/libx.so" "$tmp/libx.a" "$tmp/good"
}

# link_libraries MAP
link_libraries() {
        "${CC:-cc}" -c -fPIC -fvisibility=hidden -I"$tree/include" -I"$tree/lib" -o "$tmp/x.o" "$tree/lib/api/malloc.c"
        "${CC:-cc}" -shared -Wl,--version-script="$1" -o "$tmp/libx.so" "$tmp/x.o"
        rm -f "$tmp/libx.a"
        ar rc "$tmp/libx.a" "$tmp/x.o"
}

check() {
        SHMALLOC_SO=$tmp/libx.so SHMALLOC_A=$tmp/libx.a ALLOWED_CALLS=$tmp/allowed SHMALLOC_TEST_NAMES=$tmp/names \
                ALLOWED_POINTS=$tmp/points sh "$style_dir/check_$1.sh" "$tree" >"$tmp/out" 2>&1
}

# fails RULE PLACE WHAT   the check of RULE fails and names PLACE
fails() {
        n=$((n + 1))
        if check "$1"; then
                echo "$1: passes in spite of: $3"
                failed=$((failed + 1))
        elif ! grep -qF -- "$2" "$tmp/out"; then
                echo "$1: does not name $2 for: $3"
                cat "$tmp/out"
                failed=$((failed + 1))
        fi
        plant_good
}

# append FILE LINE...
append() {
        file=$tree/$1
        shift
        printf '%s\n' "$@" >>"$file"
}

plant_good
for script in "$style_dir"/check_*.sh; do
        rule=$(basename "$script" .sh)
        if ! check "${rule#check_}"; then
                echo "${rule#check_}: fails on a good tree:"
                cat "$tmp/out"
                failed=$((failed + 1))
        fi
        grep -q "^fails ${rule#check_} " "$0" || {
                echo "${rule#check_}: no violation is planted for it here"
                failed=$((failed + 1))
        }
done

append lib/base/atomic.h '#include "blocks/slab.h"'
fails layering lib/base/atomic.h:5 "a later layer included"
append lib/blocks/slab.h '#include "atomic.h"'
fails layering lib/blocks/slab.h:9 "a header without its layer"
append lib/blocks/slab.h '#include "../api/malloc.h"'
fails layering lib/blocks/slab.h:9 "a way round by .."
append lib/base/atomic.h '#include <shmalloc/shmalloc.h>'
fails layering lib/base/atomic.h:5 "the public header at the bottom"
append lib/stray.c ''
fails layering lib/stray.c:1 "a file outside the layers"

append lib/blocks/slab.h 'static inline size_t n_slabs(void) { return 1; }'
fails headers blocks/slab.h "a header that needs another one"
append include/shmalloc/shmalloc.h 'static inline int *f(void *p) { return p; }'
fails headers c++ "a public header that is not C++"
append include/shmalloc/shmalloc.h 'struct e {};'
fails headers pedantic "a public header that is not strict C"

append include/shmalloc/shmalloc.h 'SHA_API int shheap_new(void);'
fails exports shheap_new "a function declared, not exported"
sed -i 's/ SHA_SHORT(shfree)//' "$tree/include/shmalloc/shmalloc.h"
sed -i 's/shheap_shfree;/shfree;/' "$tree/lib/shmalloc.map"
link_libraries "$tree/lib/shmalloc.map"
fails exports 'SHA_SHORT(shfree)' "a symbol that another library may have"
sed -i 's/shfree;/&shmore;/; s/;shmore/;\n shmore/' "$tree/lib/shmalloc.map"
fails exports shmore "a name in the map that is not declared"
append lib/api/malloc.c 'int shnew(void);' '__attribute__((visibility("default"))) int shnew(void) { return 0; }'
printf 'X { global: sh*; local: *; };\n' >"$tmp/wide.map"
link_libraries "$tmp/wide.map"
fails exports libx.so "a symbol exported that is not declared"
append lib/api/malloc.c 'int slab_helper(void);' \
        '__attribute__((visibility("default"))) int slab_helper(void) { return 0; }'
link_libraries "$tree/lib/shmalloc.map"
fails exports libx.a "a symbol visible in the static library only"
sed -i '/shmalloc@/d' "$tree/debian/libshmalloc0.symbols"
fails exports 'shheap_shmalloc is declared here but missing in debian' "a function that the package does not know"
append debian/libshmalloc0.symbols ' shheap_gone@SHMALLOC_0.1 0.1.0'
fails exports 'libshmalloc0.symbols: shheap_gone is not declared' "a function that the package knows only"

append include/shmalloc/shmalloc.h '#define SHA_SEVEN 7'
fails constants SHA_SEVEN "a constant that is a macro only"
append include/shmalloc/shmalloc.h '#define SHA_ROOM(n) (SHA_ZERO << (n))'
fails constants shheap_flag_room "a macro with a value and no function"
append include/shmalloc/shmalloc.h 'static inline int one(void) { return 1; }'
fails constants include/shmalloc/shmalloc.h: "a function without a symbol"

append doc/recovery.md '' '<!-- lib/shmalloc.map -->' '```' "$(cat "$tree/lib/shmalloc.map")" ' ' '```'
fails samples doc/recovery.md: "a file that is shown otherwise than it is"
append doc/recovery.md '' '<!-- lib/shmalloc.map -->' '```' "$(cat "$tree/lib/shmalloc.map")" '```'
if ! check samples; then
        echo "samples: a file is not taken for itself"
        cat "$tmp/out"
        failed=$((failed + 1))
fi
plant_good
append doc/recovery.md '<!-- lib/none.c -->'
fails samples "no lib/none.c" "a file that is not there"

append tests/unit/test_x.c 'int   x;'
fails format tests/unit/test_x.c "two blanks too many"

append lib/blocks/slab.h '#define get(p) __atomic_load_n(p, 0)'
fails atomics lib/blocks/slab.h:9 "a builtin elsewhere"
append lib/api/malloc.c 'int __sync_x;'
fails atomics lib/api/malloc.c:21 "an old builtin"
append lib/api/malloc.c 'void f(void) { atomic_signal_fence(0); }'
fails atomics lib/api/malloc.c:21 "a fence elsewhere"
append lib/api/malloc.c 'void f(void) { __asm__("" ::: "memory"); }'
fails atomics lib/api/malloc.c:21 "a barrier by hand"
append lib/base/atomic.h '#define fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)'
fails atomics lib/base/atomic.h:5 "sequential consistency"
append lib/api/malloc.c 'static _Atomic int x;'
fails atomics lib/api/malloc.c:21 "an _Atomic object"

append lib/api/malloc.c 'void f(void) { free(malloc(1)); }'
fails calls lib/api/malloc.c:21 "the private heap"
append lib/api/malloc.c 'void f(void) { fprintf(stderr, "x"); }'
fails calls lib/api/malloc.c:21 "a message"
append lib/api/malloc.c 'void f(void) { exit(1); }'
fails calls lib/api/malloc.c:21 "an exit"
append lib/api/malloc.c 'char *f(void) { return getenv("X"); }'
fails calls lib/api/malloc.c:21 "an untrusted environment"
append lib/api/malloc.c 'char *f(void) { return secure_getenv("X"); }'
append lib/blocks/slab.h 'static inline char *f(void) { return secure_getenv("X"); }'
fails calls lib/blocks/slab.h:9 "the environment read in two files"
echo "lib/api/malloc.c abort reason" >"$tmp/allowed"
fails calls "not needed" "an exception that is not needed"
append lib/api/malloc.c 'void f(void) { abort(); }'
echo "lib/api/malloc.c abort reason" >"$tmp/allowed"
if ! check calls; then
        echo "calls: an exception is not honoured"
        cat "$tmp/out"
        failed=$((failed + 1))
fi
plant_good

append lib/api/malloc.c 'void f(void) { open("x", 0); }'
fails cancel lib/api/malloc.c:21 "a cancellation point"
append lib/blocks/slab.h 'static inline void f(void) { fallocate(3, 0, 0, 1); }'
fails cancel lib/blocks/slab.h:9 "one of the C library's own"
append lib/api/malloc.c 'void f(void *out) { fputs("x", out); }'
fails cancel lib/api/malloc.c:21 "a stream"
echo "lib/api/malloc.c close reason" >"$tmp/points"
fails cancel "not needed" "an exception that is not needed"
append lib/api/malloc.c 'void f(void) { close(3); }'
echo "lib/api/malloc.c close reason" >"$tmp/points"
if ! check cancel; then
        echo "cancel: an exception is not honoured"
        cat "$tmp/out"
        failed=$((failed + 1))
fi
plant_good

append tests/unit/test_x.c 'void f(void) { usleep(1); }'
fails sleep tests/unit/test_x.c:6 "a sleeping test"
append lib/api/malloc.c 'void f(void) { nanosleep(0, 0); }'
fails sleep lib/api/malloc.c:21 "a sleeping library"
append tests/unit/x.sh 'sleep 1'
fails sleep tests/unit/x.sh:1 "a sleeping script"

append lib/api/malloc.c '/* E2.rel: to nobody */'
fails edges 'no "E2.acq:"' "a release without an acquire"
append lib/api/malloc.c '/* E2.acq: from nobody */'
fails edges 'no "E2.rel:"' "an acquire without a release"
append lib/api/malloc.c 'int x; /* E2.acq */' 'int y; /* pairs with E2.rel */'
fails edges 'no "E2.rel:"' "an acquire that only mentions its release"
append lib/api/malloc.c 'int x; /* E2.acq, E2.rel */'
fails edges "E2 has no row" "an edge without a row"
rm "$tree/doc/memory-ordering.md"
fails edges "E1 has no row" "no document at all"
append lib/api/malloc.c 'int a, b,' '    c, d,' '    e, f,' '    g, h;' '/* E1.acq: of nothing. */' 'int x;'
fails edges lib/api/malloc.c:25 "an edge where nothing acquires"
append lib/api/malloc.c 'int x; /* by E4, as ever */'
fails edges lib/api/malloc.c:21 "an edge that there is not"
append doc/recovery.md 'The labels, `E4.rel` for one, stand in the code.'
fails edges doc/recovery.md:5 "an edge in a document that there is not"
append doc/memory-ordering.md '| E9 | gone |'
fails edges doc/memory-ordering.md:4 "a row without an edge"

append doc/README.md '[a page](gone.md)'
fails links doc/README.md:6 "a link to a page that is gone"
append doc/README.md '[a heading](README.md#gone)'
fails links doc/README.md:6 "a link to a heading that is gone"
append doc/README.md 'see api/gone.c'
fails links doc/README.md:6 "the path of a file that is gone"
append doc/README.md 'see `gone.h`'
fails links doc/README.md:6 "the name of a file that is gone"
append doc/README.md '```' ' free    api/gone.c' '```'
fails links doc/README.md:7 "a file in a picture that is gone"
append lib/api/malloc.c '/* RUN.2: more */'
fails steps lib/api/malloc.c:21 "a label without a row"
append lib/api/malloc.c 'int x; /* after KEEP.7 */'
fails steps lib/api/malloc.c:21 "a step that there is not"
append tests/unit/test_x.c '/* dies after RUNS.1 */'
fails steps tests/unit/test_x.c:6 "a step of an operation that there is not"
append tests/unit/test_x.c '/* dies after RUN.1, .4 */'
fails steps "tests/unit/test_x.c:6: RUN.4" "a step that there is not, of several"
append doc/README.md 'KEEP.1 and .2 behind .7'
fails steps "doc/README.md:6: KEEP.7" "another, in a document"
append tests/unit/test_x.c '/* the steps of RUNS.n */'
fails steps tests/unit/test_x.c:6 "an operation that there is not"
sed -i 's/RUN, KEEP/RUN/' "$tree/doc/README.md"
fails steps "KEEP has no place in a table" "an operation that the index passes over"
append doc/recovery.md '| RUN.2 more | - |'
fails steps doc/recovery.md:5 "a row without a label"
append doc/recovery.md '| KEEP.1 once more | - |'
fails steps doc/recovery.md:5 "an operation in two tables"
append doc/recovery.md '| RUN.3 more | - |'
append lib/api/malloc.c '/* RUN.3: more */'
fails steps "RUN.3 without RUN.2" "a number left out"
sed -i 's/KEEP.2, .3/KEEP.2/' "$tree/lib/blocks/run.c"
fails steps lib/blocks/run.c:6 "a row of the head without a label"
rm "$tree/doc/recovery.md"
fails steps lib/blocks/run.c "no document at all"

sed -i '/values.CLASS_LIVE/d' "$tree/lib/audit/stats.c"
fails lists "CLASS_LIVE is counted nowhere" "a figure that is not counted"
sed -i 's/live_blocks", "blocks/live", "blocks/' "$tree/lib/audit/stats.c"
fails lists "does not end in its unit" "a figure without its unit"
sed -i 's/live_blocks/filled_blocks/' "$tree/lib/audit/stats.c"
fails lists "there are two filled_blocks" "two figures of one name"
sed -i 's/n_filled;/& uint64_t n_gone;\n        uint64_t n_drained;/' "$tree/lib/layout/layout.h"
fails lists "n_drained is not summed up" "a counter that nobody reads"
sed -i 's/^struct class_counters/struct thread_slot {\n        uint64_t n_lost;\n};\n&/' "$tree/lib/layout/layout.h"
fails lists "n_lost is read by nothing" "a counter in front of the intent that nobody reads"
sed -i 's/.*heap.id.*/&\n        {"heap.more", get_more},/' "$tree/lib/api/ctl.c"
fails lists "heap.more is not in include" "a name that the header does not describe"
sed -i '/ heap.id /d' "$tree/include/shmalloc/shmalloc.h"
fails lists "heap.id is not in include" "a name that the header describes no more"
sed -i '/heap.id/d' "$tree/lib/api/ctl.c"
fails lists "heap.id is not in lib/api/ctl.c" "a name that the header alone describes"
sed -i 's/"stats.used"//' "$tree/tests/unit/test_x.c"
fails lists "no test asks for stats.used" "a name that no test asks for"
sed -i 's/.*verb_stat.*/&\n        {"top", verb_top, "live"},/' "$tree/daemon/ctl/main.c"
fails lists "top is not in doc/man" "a verb without its manual"
sed -i '/Cm stat/d' "$tree/doc/man/shmallocctl.1"
fails lists "stat is not in doc/man" "a verb that the manual has lost"
sed -i 's/ls stat/ls/' "$tree/daemon/install/shmallocctl.bash"
fails lists "stat is not in daemon/install" "a verb that is not completed"
sed -i 's/ls stat/ls stat top/' "$tree/daemon/install/shmallocctl.bash"
fails lists "top is not in daemon/ctl/main.c" "a verb that is completed only"
sed -i 's/"ls stat"/"ls"/' "$tree/tests/daemon/ctl.sh"
fails lists "stat is not in tests/daemon" "a verb that no test tries"
echo >"$tree/doc/daemon.md"
fails lists "says nothing of stat" "a verb that the document passes over"
sed -i 's/^#define SHA_ZERO.*/&\n#define SHA_FOUR 0x080u/' "$tree/include/shmalloc/shmalloc.h"
fails lists "knows SHA_FOUR" "a flag that means nothing"
sed -i 's/^#define SHA_ZERO.*/&\n#define SHA_FIVE (1u << 7)/' "$tree/include/shmalloc/shmalloc.h"
fails lists "knows SHA_FIVE" "a flag that is written as a shift"
sed -i 's/^#define SHA_ZERO.*/&\nenum sha_flags {\n        SHA_SIX   = 0x080u, \/* more *\/\n};/' \
        "$tree/include/shmalloc/shmalloc.h"
fails lists "knows SHA_SIX" "a flag of an enum that means nothing"
sed -i 's/^#define SHA_ZERO.*/&\nenum shheap_check_flags { SHHEAP_CHECK_MORE = 2 };/' \
        "$tree/include/shmalloc/shmalloc.h"
fails lists "knows SHHEAP_CHECK_MORE" "a flag of the check that means nothing"
sed -i 's/.*SHHEAP_CREATE =.*/SHHEAP_MORE = 1u << 1,\n&/' "$tree/include/shmalloc/shmalloc.h"
fails lists "knows SHHEAP_MORE" "a flag of open that means nothing"
sed -i 's/SHA_ZERO//' "$tree/doc/man/shmalloc.3"
fails lists "no page of section 3 names SHA_ZERO" "a flag that the manual passes over"
sed -i 's/SHHEAP_CREATE//' "$tree/tests/unit/test_x.c"
fails lists "no test uses SHHEAP_CREATE" "a flag that no test uses"
sed -i 's/ \*   I1 .*/&\n *   I2  more/' "$tree/lib/layout/invariants.h"
fails lists "I2 is not in what lib/ asserts" "an invariant that is asserted nowhere"
sed -i 's/ASSERT_INVARIANT(I1/ASSERT_INVARIANT(I2/' "$tree/lib/base/verify.h"
fails lists "I2 is not in lib/layout/invariants.h" "an assertion of an invariant that there is not"
sed -i '/VIOLATION(I1/d' "$tree/tests/unit/test_invariants.c"
fails lists "I1 is not in tests/unit" "an invariant that nobody breaks"

append include/shmalloc/shmalloc.h 'SHA_API int shheap_new(void);'
fails man "no manual page has this prototype: int shheap_new(void)" "a function without a page"
sed -i 's/"size_t size"/"int size"/' "$tree/doc/man/shmalloc.3"
fails man "no manual page has this prototype: void*shmalloc(size_t size)" "a prototype that is another"
sed -i 's/^.Nm shfree/.Nm shflee/' "$tree/doc/man/shmalloc.3"
fails man "names shflee, which is not in its synopsis" "a name without a prototype"
sed -i '/^.Nm shfree/d' "$tree/doc/man/shmalloc.3"
fails man "does not name shfree" "a prototype without a name"
cp "$tree/doc/man/shmalloc.3" "$tree/doc/man/shmore.3"
fails man "two pages name shfree" "a function with two pages"
sed -i '/^.Sh DEATH/d' "$tree/doc/man/shmalloc.3"
fails man "doc/man/shmalloc.3: has no section DEATH" "a page without a section"
sed -i 's/^.Xr shfree/.Xr shflee/' "$tree/doc/man/shmalloc.3"
fails man "there is no shflee(3)" "a page that is referred to and is not there"
sed -i '/shfree/d' "$tree/doc/man/shmalloc.7"
fails man "does not list shfree" "a function that the overview passes over"

sed -i 's/N bytes/N octets/' "$tree/doc/troubleshooting.md"
fails messages "troubleshooting.md: no %s of %zu bytes" "a message that is explained nowhere"
append lib/api/malloc.c '/* ' ' */' 'int f(void) { return reject(what, "a size of one"); }'
fails messages "a size of one" "a reason that is explained nowhere"
append lib/api/malloc.c 'const char *' 'name_of(int err)' '{' '        return "a new fault";' '}'
fails messages "a new fault" "a fault that is explained nowhere"

append lib/blocks/chunk.c ''
fails modules lib/blocks/chunk "a file in no module"
rm "$tree/lib/blocks/run.c"
fails modules tests/modules.txt:4 "a module of a file that is gone"
append tests/modules.txt 'more: blocks/run: unit/x'
fails modules tests/modules.txt:8 "a file in two modules"
sed -i 's/slab: unit.x/slab:/' "$tree/tests/modules.txt"
fails modules "no test aims at slab" "a module without tests"
sed -i 's/slab: unit.x/slab: unit\/y/' "$tree/tests/modules.txt"
fails modules "slab: there is no test unit/y" "a test that there is not"
echo unit/x >"$tmp/names"
if ! check modules; then
        echo "modules: a build without crash tests has too few"
        cat "$tmp/out"
        failed=$((failed + 1))
fi
plant_good
sed -i 's,crash/f.,crash/g,' "$tree/tests/modules.txt"
fails modules "there is no test crash/g" "a script that there is not"
echo explore/y >>"$tmp/names"
fails modules "explore/y is named by no module" "a test of no module"
echo unit/slab >>"$tmp/names"
fails modules "unit/slab is not named by the module slab" "a module without its own test"
sed -i '/`m:run`/d' "$tree/CONTRIBUTING.md"
fails modules CONTRIBUTING.md "another table in CONTRIBUTING.md"

append lib/api/malloc.c '/* see blocks/chunk.c */'
fails references lib/api/malloc.c:21 "a file that there is not"
append doc/recovery.md 'As in lib/malloc.c.'
fails references doc/recovery.md:5 "a file that lies elsewhere"
append lib/api/malloc.c '/* by decision 2 */'
fails references lib/api/malloc.c:21 "a decision that there is not"
append lib/api/malloc.c '/* "Runs" in doc/recovery.md */'
fails references lib/api/malloc.c:21 "a heading that there is not"
append lib/api/malloc.c "/* DESIGN's section 6 */"
fails references lib/api/malloc.c:21 "a section without a file"
append lib/api/malloc.c '/* blocks/run.c; decision 1; "Edges" in doc/recovery.md */'
append doc/recovery.md '# Edges'
mkdir "$tree/doc/decisions"
append doc/decisions/0001-one.md ''
if ! check references; then
        echo "references: what is there is not found"
        cat "$tmp/out"
        failed=$((failed + 1))
fi
plant_good

sed -i '/RUN_TO/d' "$tree/doc/recovery.md"
fails intents "RUN_TO has no row" "an intent without a row"
append doc/recovery.md '| RUN_FROM | head, dest | RUN.1 | `settle_run`: all |'
fails intents doc/recovery.md:5 "a row without an intent"
sed -i 's/head, dest/head, n/' "$tree/doc/recovery.md"
fails intents "has the operands" "operands that it has not"
sed -i 's/settle_run/settle_all/' "$tree/doc/recovery.md"
fails intents "is settled by" "another function"
sed -i 's/RUN.1 . .settle/KEEP.1 | `settle/' "$tree/doc/recovery.md"
fails intents "is not begun at KEEP.1" "another step"
sed -i 's/"run-to"/"run-out"/' "$tree/lib/layout/intents.h"
fails intents "has the name" "another name"
sed -i 's/has_dest = 1/has_dest = 0/' "$tree/lib/layout/intents.h"
fails intents intent_block_has_dest "a dest that nobody looks for"

awk 'BEGIN { for (i = 0; i < 800; i++) print "" }' >>"$tree/lib/api/malloc.c"
fails length lib/api/malloc.c:820 "a long file"
awk 'BEGIN { for (i = 0; i < 800; i++) print "" }' >>"$tree/tests/unit/test_x.c"
fails length tests/unit/test_x.c:805 "a long test"

sed -i '/VERSION_PATCH/d' "$tree/include/shmalloc/shmalloc.h"
fails version "does not define" "a version of two parts"
sed -i 's/PATCH 2/PATCH 3/' "$tree/include/shmalloc/shmalloc.h"
fails version CHANGELOG.md:3 "another version in CHANGELOG.md"
sed -i 's/PATCH 2/PATCH 3/' "$tree/include/shmalloc/shmalloc.h"
fails version debian/changelog:1 "another version of the package"
sed -i 's/ (2026.*/ (soon)/' "$tree/CHANGELOG.md"
fails version CHANGELOG.md:3 "a section without a date"
sed -i 's/SHMALLOC_0.1/SHMALLOC_0.2/' "$tree/lib/shmalloc.map"
fails version lib/shmalloc.map:1 "symbols of a later version"
sed -i 's/shmalloc@SHMALLOC_0.1 0.1.0/shmalloc@SHMALLOC_0.1 0.1.10/' "$tree/debian/libshmalloc0.symbols"
fails version debian/libshmalloc0.symbols:5 "a symbol of a later version"
sed -i 's/libshmalloc0/libshmalloc1/' "$tree/debian/control"
fails version "no package libshmalloc0" "a package of another name than the library's"
sed -i 's/0.1/0.2/' "$tree/tests/install/CMakeLists.txt"
fails version tests/install/CMakeLists.txt "a consumer of another version"
printf '.Dd soon\n' >"$tree/doc/man/shmalloc.7"
fails version doc/man/shmalloc.7:1 "a page without a date"
printf '.Dd December 1, 2026\n' >"$tree/doc/man/shmalloc.7"
fails version doc/man/shmalloc.7:1 "a page that is younger than the version"

long=$(printf '%118s' '' | tr ' ' x)
append lib/blocks/slab.h "/* $long */"
fails columns lib/blocks/slab.h:9 "a long comment"
append doc/README.md "$long $long"
fails columns doc/README.md:6 "a long line in a document"
append tests/unit/x.sh "# $long $long"
fails columns tests/unit/x.sh:1 "a long line in a script"
append doc/README.md "| $long | $long |"
append lib/blocks/slab.h "/* $(printf '%80s' '' | sed 's/ /\xc2\xb7/g') */"
if ! check columns; then
        echo "columns: a row of a table, or a line of 120 columns and more bytes, is refused"
        cat "$tmp/out"
        failed=$((failed + 1))
fi
plant_good

sed -i 's/^.*ASSERT(a /        if (a > b)\n&/' "$tree/lib/base/verify.h"
fails asserts "an assertion is the body of the line before it" "an assertion that took a body's place"
plant_good

sed -i '/ASSERT(a/d' "$tree/lib/base/verify.h"
fails asserts "fewer than 4 assertions" "too few assertions"
sed -i -e 's/ASSERT(a .*/ASSERT(a);/' -e 's/(I1, b .*/(I1, b != NULL);/' "$tree/lib/base/verify.h"
fails asserts "fewer than 4 assertions" "assertions that a name is not NULL"
sed -i -e 's/ASSERT(a .*/ASSERT(1);/' -e 's/(I1, b .*/(I1, true);/' "$tree/lib/base/verify.h"
fails asserts "fewer than 4 assertions" "assertions of constants"

echo "$n planted violations, $failed not found"
[ $failed -eq 0 ]

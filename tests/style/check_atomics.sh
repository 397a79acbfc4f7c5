#!/bin/sh
# lib/ names atomic builtins, memory orders and compiler barriers in lib/base/atomic.h only, and sequential consistency
# nowhere; lib/base/place.h alone may write to the assembler besides.  _Atomic and <stdatomic.h> stay out altogether:
# their plain accesses are sequentially consistent.
. "$(dirname "$0")/common.sh"

set -- $(files "c h" lib)
[ $# -gt 0 ] || finish "no files in lib/"

code "$@" >"$tmp/code"
operations='load|store|exchange|init|flag_[a-z_]+|fetch_(add|sub|or|xor|and)'
builtins='__atomic_|__sync_|__ATOMIC_|memory_order|atomic_(thread|signal)_fence|atomic_compare_exchange'
builtins="$builtins|atomic_($operations)(_explicit)?[[:space:]]*\("
builtins="$builtins"'|(^|[^A-Za-z0-9_])(asm|__asm|__asm__)([^A-Za-z0-9_]|$)'
grep -Ev '^lib/base/(atomic|place)\.h:' "$tmp/code" | grep -E "$builtins" |
        sed 's/$/   <- atomics and barriers only through base\/atomic.h/' | violation
grep -E 'seq_cst|SEQ_CST|__sync_' "$tmp/code" |
        sed 's/$/   <- no protocol here needs sequential consistency/' | violation
grep -E '(^|[^A-Za-z0-9_])(_Atomic|stdatomic\.h)([^A-Za-z0-9_]|$)' "$tmp/code" |
        sed 's/$/   <- shared fields are plain integers/' | violation
finish "$# files leave atomics to base/atomic.h"

#!/bin/sh
# Which lines of lib/ the tests do not reach.  Processes that are killed count: their counters lie in a file that they
# map.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
build=$top/build/coverage

usage() {
        cat <<END
usage: tests/coverage.sh [--report] [CTEST-OPTION...]

Builds everything with counters (the preset coverage, clang) in build/coverage, runs the default tests, or those that
the options choose, and writes build/coverage/report.txt: for each file of lib/ how many of its lines were reached,
and the others by their numbers. The counts of earlier runs stay until build/coverage/profiles is removed. Tests that
count instructions or time steps may fail with counters in the code; which did is said.

    --report    only the report, of what has been counted so far
END
}

is_report=no
case ${1:-} in
-h | --help)
        usage
        exit 0
        ;;
--report)
        is_report=yes
        shift
        ;;
esac
for tool in clang llvm-cov llvm-profdata; do
        command -v "$tool" >/dev/null || {
                echo "$tool is missing (Debian: clang llvm)" >&2
                exit 2
        }
done

profiles=$build/profiles
if [ "$is_report" = no ]; then
        cmake -S "$top" --preset coverage >"$top/coverage.log" 2>&1 && mv "$top/coverage.log" "$build/coverage.log" || {
                cat "$top/coverage.log" >&2
                rm -f "$top/coverage.log"
                exit 2
        }
        cmake --build "$build" >>"$build/coverage.log" 2>&1 || {
                tail -n 30 "$build/coverage.log" >&2
                exit 2
        }
        mkdir -p "$profiles"
        chmod 777 "$profiles" # tests become other users
        LLVM_PROFILE_FILE=$profiles/%m%c.profraw ctest --test-dir "$build" -LE 'slow|style' -j "$(nproc)" "$@" ||
                echo "Some tests failed; what they reached counts." >&2
fi

ls "$profiles"/*.profraw >/dev/null 2>&1 || {
        echo "nothing has been counted in $profiles" >&2
        exit 2
}
llvm-profdata merge -sparse --failure-mode=all -o "$build/all.profdata" "$profiles"/*.profraw
# Programs and libraries in which the library's code is; the first is named, the others are told of by -object.
for file in $(find "$build" -type f -perm -100 ! -path '*/CMakeFiles/*'); do
        nm "$file" 2>/dev/null | grep -q ' __llvm_profile_runtime\| __start___llvm_prf_cnts' && echo "$file"
done >"$build/objects" || :
[ -s "$build/objects" ] || {
        echo "no program in $build has counters" >&2
        exit 2
}
# shellcheck disable=SC2046
llvm-cov export -format=lcov -instr-profile="$build/all.profdata" \
        $(sed '2,$s/^/-object /' "$build/objects") "$top"/lib \
        >"$build/all.lcov" 2>"$build/llvm-cov.log" || {
        cat "$build/llvm-cov.log" >&2
        exit 2
}
awk -v top="$top/" '
/^SF:/ { file = substr($0, 4); sub(top, "", file); sub(/^.*\/\.\.\//, "", file); n = hit = 0; next }
file !~ /^lib\// { next }
/^DA:/ {
        split(substr($0, 4), d, ",")
        n++
        if (d[2] > 0) { hit++; next }
        missed[n - hit] = d[1] + 0
}
/^end_of_record/ && n > 0 {
        text = ""
        for (i = 1; i <= n - hit; i++) {
                from = missed[i]
                while (i < n - hit && missed[i + 1] == missed[i] + 1) i++
                text = text (text == "" ? "" : ", ") (from == missed[i] ? from : from "-" missed[i])
        }
        printf "%-32s %4d of %4d lines (%5.1f %%)%s\n", file, hit, n, 100 * hit / n, text == "" ? "" : "; not: " text
        all += n; all_hit += hit
}
END { if (!all) exit 1; printf "%-32s %4d of %4d lines (%5.1f %%)\n", "all", all_hit, all, 100 * all_hit / all }
' "$build/all.lcov" >"$build/report.txt" || {
        echo "no line of lib/ has a counter" >&2
        exit 2
}
cat "$build/report.txt"

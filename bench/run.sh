#!/bin/sh
# Builds the benchmarks, asks all questions, writes tables and plots.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
# In the order of how soon one would like to know.
all="instructions pair family burst churn traces handover large resize heaps fragment full idle"
all="$all reap start clients index sqlite"

usage() {
        cat <<END
usage: bench/run.sh [OPTION...]
       bench/run.sh --against BUILD [--quick] [--rows LIST] [--rounds N] [--out DIR] [--build DIR]

Builds shmalloc and the benchmarks, runs them against the allocators that are installed, and writes into a folder:
report.md (targets, a summary, tables), results.csv (all figures), *.svg (plots). About 25 minutes; keep the machine
idle meanwhile.

    -q, --quick             a fifth of the time, two rounds: a first look, not to be quoted
        --questions LIST    only these, with commas in between:
                            $(echo "$all" | tr ' ' , | sed 's/,large/,\
                            large/')
    -a, --allocators LIST   only these; null and shmalloc are always there
    -r, --rounds N          repeat each run N times (default: 5, for some questions 1 or 3)
        --peer FILE         one more private allocator: a shared library with a malloc, say of a newer version; may be
                            given several times. It is called by the file's name
        --traces DIR        replay these traces of programs, NAME.trace or NAME.trace.zst; bench/record.sh makes more
                            (default: of some programs that are installed, recorded now)
    -o, --out DIR           where to write (default: build/bench-results)
    -b, --build DIR         where to build (default: build/timing)
    -h, --help              this

    --against BUILD         measure this source tree and BUILD alternately instead, shmalloc alone: nine rounds, about
                            4 minutes. BUILD is another build directory, a prefix where one was installed, or a
                            libshmalloc.so. A table of instructions and times goes to standard output and to
                            DIR/against.md, all figures to DIR/against.csv. Exits with 1, and names the rows, where a
                            hit takes one instruction more, another row 3 % more instructions, or any row 5 % more
                            time in the median; with 2 if nothing could be compared
        --rows LIST         with --against: only these rows; $build/bench/against --list shows them

One question alone, with more options: build/timing/bench/NAME --help. bench/README.md says how to read it all.
END
}

die() {
        echo "run.sh: $*" >&2
        exit 2
}

questions=$all out=$top/build/bench-results build=$top/build/timing allocators='' rounds='' quick='' against='' rows=''
traces='' n_peers=0
while [ $# -gt 0 ]; do
        case $1 in
        -q | --quick) quick=--quick ;;
        --against | --rows | --questions | --peer | --traces | -a | --allocators | -r | --rounds | -o | --out | -b | \
                --build)
                [ $# -ge 2 ] || die "$1 wants an argument; see --help"
                case $1 in
                --against) against=$2 ;;
                --rows) rows=$2 ;;
                --traces) traces=$(cd "$2" && pwd) || die "there is no folder $2" ;;
                --peer)
                        n_peers=$((n_peers + 1))
                        eval "peer_$n_peers=\$(realpath -e \"\$2\")" || die "there is no file $2"
                        ;;
                --questions) questions=$(echo "$2" | tr , ' ') ;;
                -a | --allocators) allocators=$2 ;;
                -r | --rounds) rounds=$2 ;;
                -o | --out) out=$2 ;;
                -b | --build) build=$2 ;;
                esac
                shift
                ;;
        -h | --help)
                usage
                exit 0
                ;;
        *)
                usage >&2
                exit 2
                ;;
        esac
        shift
done
[ -z "$rows" ] || [ -n "$against" ] || die "--rows goes with --against; see --help"
[ -z "$against" ] || [ "$n_peers$traces" = 0 ] || die "--against compares two builds of shmalloc alone; see --help"
for question in $questions; do
        case " $all " in
        *" $question "*) ;;
        *) die "there is no question called $question; see --help" ;;
        esac
done

say() {
        printf '%s\n' "$*" >&2
}

# ------------------------------------------------------------------ what is missing, and the build

build_in() { # TARGET...   all, if none is named
        cmake -S "$top" -B "$build" -DSHMALLOC_TESTS=OFF -DSHMALLOC_EXAMPLES=OFF -DSHMALLOC_BENCH=ON \
                >"$out/build.log" 2>&1 &&
                cmake --build "$build" --parallel "$(nproc)" ${1:+--target "$@"} >>"$out/build.log" 2>&1 || {
                tail -n 30 "$out/build.log" >&2
                die "the build failed; all of it is in $out/build.log"
        }
}

command -v cmake >/dev/null || die "cmake is missing; ./demo.sh installs what the build needs"
mkdir -p "$out" "$build"
out=$(cd "$out" && pwd)
if [ -n "$against" ]; then
        say "Building in $build"
        build_in shmalloc bench-against
        . "$here/against/run.sh"
        exit "$status"
fi

missing=''
if command -v dpkg-query >/dev/null; then
        for package in $(grep -v '^#' "$here/packages.txt"); do
                [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null)" = "ii " ] ||
                        missing="$missing $package"
        done
fi
[ -z "$missing" ] || say "Not all there; for the rest: apt-get install --no-install-recommends$missing"

load=$(cut -d' ' -f1 /proc/loadavg) # before the build, which is work, too
is_busy=''
if awk -v load="$load" 'BEGIN { exit !(load > 0.5) }'; then
        is_busy=yes
        say "The machine is busy (load $load): what several workers do, and all maxima, will be wrong"
fi
say "Building in $build"
build_in
bin=$build/bench

# ------------------------------------------------------------------ the questions

csv=$out/results.csv tables=$out/tables.md
rm -f "$csv" "$tables" "$out"/*.svg
start=$(date +%s)
set -- --csv "$csv" ${quick:+"$quick"} ${rounds:+--rounds "$rounds"}
for i in $(seq $n_peers); do
        eval "set -- \"\$@\" --peer \"\$peer_$i\""
done
case " $questions " in
*" traces "*)
        if [ -z "$traces" ]; then
                say "Recording programs"
                traces=$bin/recorded
                sh "$here/trace/programs.sh" "$bin/record.so" "$traces"
        fi
        ;;
esac
export BENCH_TRACES="$traces"
left_out=''
for question in $questions; do
        if [ ! -x "$bin/$question" ]; then # its package was not there when this was built
                say "$question: left out, it needs libsqlite3-dev"
                left_out="$left_out $question"
                continue
        fi
        case $question in
        reap) chosen='' ;; # shmalloc alone
        *) chosen=${allocators:+shmalloc,$allocators} ;;
        esac
        say "$question: $("$bin/$question" --list | sed -n '1s/[^:]*: //p')"
        "$bin/$question" "$@" ${chosen:+--allocators "$chosen"} >>"$tables" || say "$question failed with status $?"
done
took=$(($(date +%s) - start))
[ -s "$csv" ] || die "there are no figures"

# ------------------------------------------------------------------ plots

# pivot QUESTION METRIC COLUMN   a line per case, a column per allocator, "?" where there is none
pivot() {
        awk -F, -v question="$1" -v metric="$2" -v column="$3" '
        $1 == question && $3 == metric && ($6 != "null") {
                if (!($2 in seen)) { seen[$2] = 1; name[++n] = $2 }
                if (!($5 in known)) { known[$5] = 1; who[++m] = $5 }
                value[$2, $5] = column == "net" ? $8 : $7
        }
        END {
                printf "case"
                for (k = 1; k <= m; k++) printf " %s", who[k]
                print ""
                for (i = 1; i <= n; i++) {
                        printf "%s", name[i]
                        for (k = 1; k <= m; k++) printf " %s", (name[i], who[k]) in value ? value[name[i], who[k]] : "?"
                        print ""
                }
        }' "$csv"
}

# draw QUESTION METRIC COLUMN "TITLE" "UNIT" [log]   bars
draw() {
        case " $questions " in *" $1 "*) ;; *) return 0 ;; esac
        pivot "$1" "$2" "$3" >"$out/plot.dat"
        columns=$(awk 'NR == 1 { print NF }' "$out/plot.dat")
        [ "$columns" -gt 1 ] && [ "$(wc -l <"$out/plot.dat")" -gt 1 ] || return 0
        gnuplot 2>>"$out/build.log" <<END || say "gnuplot failed for $1; see $out/build.log"
set terminal svg size 1000,480 font "sans,13" background "white"
set output "$out/$1-$(echo "$2" | tr -d '%').svg"
set title "$4"
set ylabel "$5"
set datafile missing "?"
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.85 noborder
set grid ytics lc rgb "#dddddd"
set key outside right top
${6:+set logscale y}
set yrange [$([ -n "${6:-}" ] && echo '*' || echo 0):*]
others = "#1f77b4 #2ca02c #ff7f0e #9467bd #8c564b #17becf #7f7f7f #bcbd22 #e377c2"
plot for [i=2:$columns] "$out/plot.dat" using i:xtic(1) title columnheader(i) \\
        lc rgb (i == 2 ? "#d62728" : word(others, i - 2))
END
        rm -f "$out/plot.dat"
}

if command -v gnuplot >/dev/null; then
        draw instructions instructions net "Instructions of a call that hits the caches" "instructions" log
        draw pair time net "A pair of malloc and free, by size" "ns, driver subtracted" log
        draw family time net "Calls besides malloc and free, served from the caches" "ns, driver subtracted" log
        draw burst time net "Many blocks, then all freed; and first fills" "ns per block, driver subtracted" log
        draw traces time median "Traces of programs, replayed" "ns per call, with the driver"
        draw churn rate median "Churn of 10,000 blocks of 16 to 1024 bytes, by number of workers" \
                "million operations per second"
        draw churn malloc_p99.9 net "Churn, one worker: 99.9 % of the mallocs are quicker than" "ns"
        draw handover time median "Allocated by one, freed by another" "ns per block, with the driver" log
        draw large time median "Large blocks, 64 KiB to 4 MiB" "ns, with the driver" log
        draw resize time median "Growth by realloc" "ns from first to last" log
        draw fragment resident median "Resident after random work on 128 MiB" "MiB"
        draw fragment resident_10% median "Resident after freeing 90 %" "MiB"
        draw reap reap median "Reaping a client that was killed" "microseconds"
        draw clients time median "Opening a heap as the n-th client" "microseconds"
        draw full live_share median "Live in a region of fixed size when malloc first fails" "%"
        draw sqlite cpu median "SQLite with its memory from the allocator" "ns per statement"
        draw index time median "Text index, by number of workers" "ms"
else
        say "No plots: gnuplot is missing"
fi

# ------------------------------------------------------------------ the report

version_of() {
        dpkg-query -W -f '${Package} ${Version}; ' $(grep -v '^#' "$here/packages.txt") 2>/dev/null || :
}

{
        echo "# Benchmarks of $(date -u +%Y-%m-%d)"
        echo
        echo "* Machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) processors," \
                "$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r)," \
                "$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release), load $load at the start"
        echo "* Command: bench/run.sh${quick:+ $quick}${rounds:+ --rounds $rounds}, $((took / 60)) min $((took % 60)) s"
        echo "* Others: $(version_of)"
        [ -z "$missing" ] || echo "* Not installed, and so not in here:$missing"
        [ -z "$left_out" ] || echo "* Questions left out, since a package is missing:$left_out"
        echo
        if [ -n "$is_busy" ]; then
                echo "**The machine was busy when this began: times are wrong, above all those of several workers, and"
                echo "memory that goes back as time goes by. Instructions and system calls are right.**"
                echo
        fi
        echo "## Targets"
        echo
        awk -f "$here/noise.awk" -f "$here/targets.awk" "$here/targets.txt" "$csv"
        echo
        echo "## Summary"
        echo
        awk -f "$here/noise.awk" -f "$here/summary.awk" "$csv"
        echo
        echo "## Plots"
        echo
        command -v gnuplot >/dev/null || echo "None: gnuplot is missing."
        for plot in "$out"/*.svg; do
                [ -f "$plot" ] && echo "![$(basename "$plot" .svg)]($(basename "$plot"))"
        done
        echo
        echo "## Tables"
        echo
        echo "Medians. What is called net is without the driver, measured with an allocator that does nothing (null,"
        echo "whose own line is not net); ~ marks net figures within the driver's noise, which say no more than that."
        cat "$tables"
} >"$out/report.md"
rm -f "$tables"
sed -n '/^## Targets/,/^## Plots/p' "$out/report.md" | sed '1,2d;$d'
n_plots=$(find "$out" -name '*.svg' | wc -l)
say "Written: $out/report.md, results.csv and $n_plots plots, in $((took / 60)) min $((took % 60)) s"

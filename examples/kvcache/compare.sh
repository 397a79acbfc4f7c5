#!/bin/sh
# Throughput side by side: kvcache with one and two workers, redis-server, memcached with one and two threads.
set -eu

usage() {
        cat <<END
usage: examples/kvcache/compare.sh [OPTION...]

Starts kvcache (1 and 2 workers), redis-server (no persistence) and memcached (1 and 2 threads) one after the other,
gives each the same load over the loopback, and prints requests per second, and per second of processor time that the
server used (in user and kernel mode, all its processes and threads).  redis-server and memcached are Debian's packages
of these names; what is not installed is left out.

  -b DIR        build folder (default build)
  -n N          requests per measurement without pipelining; with it, eight times as many (default 200000)
  -r N          rounds; the median is printed (default 3)
  -c N          connections (default 50)
  -d N          bytes of a value (default 100)
  -k N          keys (default 100000)
  -P "LIST"     requests in flight on a connection (default "1 16")
  -p PORT       first of five ports to use (default 17380)
  -h, --help    this text
END
}

build=build requests=200000 rounds=3 clients=50 bytes=100 keys=100000 pipelines="1 16" port=17380
[ "${1:-}" != --help ] || set -- -h
while getopts b:n:r:c:d:k:P:p:h option; do
        case $option in
        b) build=$OPTARG ;;
        n) requests=$OPTARG ;;
        r) rounds=$OPTARG ;;
        c) clients=$OPTARG ;;
        d) bytes=$OPTARG ;;
        k) keys=$OPTARG ;;
        P) pipelines=$OPTARG ;;
        p) port=$OPTARG ;;
        h)
                usage
                exit 0
                ;;
        *)
                usage >&2
                exit 2
                ;;
        esac
done
load=$build/tests/kvcache/load
kvcache=$build/examples/kvcache
for program in "$load" "$kvcache"; do
        [ -x "$program" ] || {
                echo "compare.sh: $program is missing: build first, or name the build folder with -b" >&2
                exit 2
        }
done

tmp=$(mktemp -d)
servers=
end() {
        for pid in $servers; do
                kill "$pid" 2>/dev/null || :
        done
        wait
        rm -rf "$tmp"
}
trap end EXIT
trap 'exit 1' HUP INT TERM

# processes PID   it and its children
processes() {
        echo "$1" "$(cat "/proc/$1/task/$1/children" 2>/dev/null)"
}

# used PID   nanoseconds of processor time
used() {
        for process in $(processes "$1"); do
                cat "/proc/$process/task"/*/schedstat 2>/dev/null || :
        done | awk '{ n += $1 } END { printf "%.0f", n }'
}

# one LABEL PROTOCOL PORT PID OPERATION PIPELINE   a measurement, to $tmp/results
one() {
        n=$requests
        [ "$6" -eq 1 ] || n=$((requests * 8))
        before=$(used "$4")
        rate=$("$load" "$2" "$3" "$5" "$n" "$clients" "$6" "$keys" "$bytes")
        after=$(used "$4")
        echo "$1 $5 $6 $rate $before $after $n" >>"$tmp/results"
}

# begin LABEL PROTOCOL COMMAND...   starts a server and fills it
begin() {
        label=$1 protocol=$2
        shift 2
        "$@" >"$tmp/log" 2>&1 &
        servers="$servers $!"
        echo "$label $protocol $port $!" >>"$tmp/servers"
        tries=0
        until "$load" "$protocol" "$port" set "$keys" "$clients" 16 "$keys" "$bytes" >/dev/null 2>&1; do
                tries=$((tries + 1))
                [ $tries -lt 500 ] || {
                        echo "compare.sh: $label does not serve port $port:" >&2
                        cat "$tmp/log" >&2
                        exit 1
                }
        done
        port=$((port + 1))
}

begin kvcache-1 redis "$kvcache" -q -w 1 -p $port -m 1G
begin kvcache-2 redis "$kvcache" -q -w 2 -p $port -m 1G
if command -v redis-server >/dev/null; then
        begin redis-server redis redis-server --port $port --save "" --appendonly no
fi
if command -v memcached >/dev/null; then
        begin memcached-1 memcached memcached -u nobody -l 127.0.0.1 -p $port -t 1 -m 1024
        begin memcached-2 memcached memcached -u nobody -l 127.0.0.1 -p $port -t 2 -m 1024
fi

for round in $(seq "$rounds"); do
        for pipeline in $pipelines; do
                for operation in set get; do
                        while read -r label protocol at pid; do
                                one "$label" "$protocol" "$at" "$pid" $operation "$pipeline"
                        done <"$tmp/servers"
                done
        done
done

echo "$(nproc) processors, $clients connections, values of $bytes bytes, $keys keys; median of $rounds rounds"
printf '%-14s %-4s %9s %12s %22s\n' server what in-flight requests/s "requests/cpu-second"
awk '{ print $1, $2, $3, $4, $7 * 1e9 / ($6 - $5) }' "$tmp/results" |
        sort -k3,3n -k2,2 -k1,1 -k5,5n |
        awk -v rounds="$rounds" '
        { key = $1 " " $2 " " $3 }
        key != last { n = 0; last = key }
        { n++ }
        n == int((rounds + 1) / 2) { printf "%-14s %-4s %9d %12d %22d\n", $1, $2, $3, $4, $5 }'

#!/bin/sh
# conversation.sh PROGRAM - kvcache as the stock clients see it: redis-cli, redis-benchmark.
#
# What is at stake: that they work unmodified. The replies expected are those of Redis 7 to the same commands, but for
# what a cache of strings does not have (other databases, lists).
set -eu
program=$1
here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
server=
name=kvcache-conversation.$$

end() {
        [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || :
        rm -rf "$tmp" "/dev/shm/shmalloc.$name"
}
trap end EXIT
trap 'exit 1' HUP INT TERM

fail() {
        echo "conversation: $*"
        exit 1
}

# start OPTION...   a server; $port and $server are set once it serves
start() {
        rm -f "$tmp/out"
        mkfifo "$tmp/out"
        "$program" --port "${port:-0}" --name "$name" "$@" >"$tmp/out" &
        server=$!
        exec 3<"$tmp/out"
        read -r line <&3 || fail "the server does not start: $*"
        port=$(echo "$line" | sed -n 's/.*127\.0\.0\.1:\([0-9]*\) .*/\1/p')
        [ -n "$port" ] || fail "says '$line'"
}

# stop   by SIGTERM: status 0, and the heap is gone
stop() {
        kill -TERM "$server"
        wait "$server" || fail "the server ended with status $?"
        server=
        exec 3<&-
        [ ! -e "/dev/shm/shmalloc.$name" ] || fail "the heap is still there"
}

cli() {
        redis-cli -p "$port" "$@"
}

same() {
        [ "$1" = "$2" ] || fail "$3: '$1', and not '$2'"
}

# ---- the command line
"$program" --help | grep -q -- --max-memory || fail "--help"
for bad in --port=x --workers=0 --workers=64 --max-memory=1 --nonsense extra --bind=; do
        status=0
        "$program" "$bad" 2>"$tmp/err" || status=$?
        same $status 2 "status of $bad"
        grep -q 'help' "$tmp/err" || fail "$bad: no word of --help"
done

# ---- replies
start --workers 2 --max-memory 300M
cli <"$here/conversation.txt" >"$tmp/replies"
diff -a "$here/conversation.expected" "$tmp/replies" || fail "replies differ (< expected)"
cli command | grep -qx mget || fail "COMMAND"
cli info | grep -q '^maxmemory:314572800' || fail "INFO"

# ---- workers leave the processor to clients that have more to send: SCHED_BATCH, unless somebody chose otherwise
workers=$(cat "/proc/$server/task/$server/children")
[ -n "$workers" ] || fail "no workers"
for worker in $workers; do
        [ "$(cut -d' ' -f41 /proc/self/stat)" -ne 0 ] ||
                same "$(cut -d' ' -f41 "/proc/$worker/stat")" 3 "scheduling policy"
done

# ---- 64 MiB, and a byte more
head -c 67108864 /dev/urandom >"$tmp/big"
same "$(cli -x set big <"$tmp/big")" OK "64 MiB"
cli get big | head -c 67108864 | cmp - "$tmp/big" || fail "64 MiB come back otherwise"
same "$(cli strlen big)" 67108864 "STRLEN"
same "$(cli append big x)" "ERR string exceeds maximum allowed size (64 MiB)" "APPEND"
printf x >>"$tmp/big"
cli -x set big <"$tmp/big" >"$tmp/reply" 2>&1 || :
# Much of it is still on its way when the server refuses it: the client may see the error, or only a closed connection.
[ "$(head -c 2 "$tmp/reply")" != OK ] || fail "64 MiB and a byte are taken"
same "$(cli strlen big)" 67108864 "STRLEN after it"
same "$(cli del big)" 1 DEL

# ---- redis-benchmark
for pipeline in 1 16; do
        redis-benchmark -p "$port" -t ping,set,get,incr,mset -n 2000 -P $pipeline -r 1000 --csv \
                >"$tmp/bench" 2>"$tmp/err" ||
                fail "redis-benchmark -P $pipeline"
        same "$(grep -c '^"\(PING_INLINE\|PING_MBULK\|SET\|GET\|INCR\|MSET (10 keys)\)","[1-9]' "$tmp/bench")" 6 \
                "tests of redis-benchmark"
        ! grep -i error "$tmp/bench" "$tmp/err" || fail "errors"
done
"$program" --check --name "$name" >"$tmp/check" || fail "$(cat "$tmp/check")"

# ---- the supervisor is killed, and the next one takes over
cli set kept 1 >"$tmp/reply"
kill -KILL "$server"
wait "$server" || :
server=
exec 3<&-
start --workers 2 --max-memory 300M
same "$(cli get kept)" 1 "a key from before"
stop

# ---- the bound of memory
start --workers 2 --max-memory 1M
redis-benchmark -p "$port" -t set -n 30000 -P 16 -r 100000 -d 100 -q >"$tmp/bench" 2>&1 || fail "redis-benchmark"
used=$(cli info memory | tr -d '\r' | sed -n 's/^used_memory://p')
evicted=$(cli info stats | tr -d '\r' | sed -n 's/^evicted_keys://p')
[ "$used" -gt 900000 ] && [ "$used" -lt 1080000 ] || fail "$used bytes with a bound of 1 MiB"
[ "$evicted" -gt 1000 ] || fail "$evicted keys evicted"
same "$(head -c 2000000 /dev/zero | tr '\0' x | cli -x set large)" \
        "OOM command not allowed when used memory > 'maxmemory'." "a value beyond the bound"
"$program" --check --name "$name" >"$tmp/check" || fail "$(cat "$tmp/check")"
stop
echo "all replies are as expected"

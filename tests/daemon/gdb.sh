#!/bin/sh
# The gdb script: it says of a live process and of its core the same, and what shmallocctl says of the heap.
. "$(dirname "$0")/common.sh"
script=$(cd "$(dirname "$0")/../../daemon/gdb" && pwd)/shmalloc-gdb.py
skip() {
        echo "skipped: $*"
        exit 77
}
command -v gdb >/dev/null || skip "gdb is missing"
gdb -nx -batch -ex 'python print("ok")' 2>/dev/null | grep -q ok || skip "gdb has no Python"

SHMALLOC_CONF=capacity:128M,dump:used
start_patient crashed point "$tmp/points"
live=$(awk '$1 == "live" && $3 == 3072 { print $2; exit }' "$tmp/points")
cached=$(awk '$1 == "cached" { print $2; exit }' "$tmp/points")
expect 0 "$ctl" explain --json crashed "$cached"
magazine=$("$python" -c 'import json, sys; print(json.load(sys.stdin)["magazine"]["index"])' <"$tmp/out")
thread=$("$python" -c 'import json, sys; print(json.load(sys.stdin)["magazine"]["owner"]["thread"])' <"$tmp/out")
granule=$("$python" -c 'import json, sys; print(json.load(sys.stdin)["granule"])' <"$tmp/out")
echo 0x3f >"/proc/$patient_pid/coredump_filter" # shared file mappings, too

batch() {
        gdb -nx -batch -iex 'set debuginfod enabled off' -iex 'set auto-load off' "$@"
}

# look GDB-ARGUMENT...
look() {
        batch "$@" -ex "source $script" -ex 'shmalloc heaps' -ex 'shmalloc slots' -ex 'shmalloc intents' \
                -ex "shmalloc at $live" -ex "shmalloc magazine $magazine" \
                -ex 'shmalloc word granule 0x40000000013' >"$tmp/all" 2>"$tmp/err"
        sed -n '/^0: "/,$p' "$tmp/all" | grep -v '^\[\|^Saved\|^warning'
}
look -p "$patient_pid" >"$tmp/out" || :
if grep -q 'ptrace: Operation not permitted\|Could not attach' "$tmp/err"; then
        skip "another process may not be traced here"
fi
if grep -q 'no debug information' "$tmp/err"; then
        skip "this build has no debug information"
fi
says out '0: "crashed" at 0x'
says out "process $patient_pid, tid $patient_pid,"
says out "0 slots in the midst of something"
says out "granule $granule"
says out "state GRANULE_SLAB"
says out "state CHUNK_ARENA"
says out "magazine $magazine "
says out "state MAGAZINE_TCACHE, owner $thread,"
says out ": $cached"
says out "0x40000000013: state GRANULE_SLAB, owner 1, count 16"
[ ! -s "$tmp/err" ] || ! grep -q 'Traceback\|Error' "$tmp/err" || fail "$(cat "$tmp/err")"
cp "$tmp/out" "$tmp/alive"

# Its core, and an intent in it: set by hand, and taken back before the process goes on.
cat >"$tmp/commands" <<END
source $script
gcore $tmp/core
python slot = slot_at(heaps()[0], 0)
python gdb.execute("set var ((struct thread_slot *)%d)->intent.kind = INTENT_FILL" % int(slot.address))
shmalloc intents
shell $ctl dump crashed >$tmp/dump
gcore $tmp/core-busy
python gdb.execute("set var ((struct thread_slot *)%d)->intent.kind = INTENT_NONE" % int(slot.address))
END
batch -p "$patient_pid" -x "$tmp/commands" >"$tmp/out" 2>"$tmp/err" || fail "no core: $(cat "$tmp/err")"
says out "intent INTENT_FILL"
says out "1 slots in the midst of something"
says dump "intent fill"
end_patient
expect 0 "$ctl" check --quiescent crashed
look "$patient" "$tmp/core" >"$tmp/out"
diff "$tmp/alive" "$tmp/out" || fail "the core does not say what the living process said: $(cat "$tmp/err")"
look "$patient" "$tmp/core-busy" >"$tmp/out"
says out "intent INTENT_FILL"

# Without a heap, and with words that are none: a line, and no traceback.
for bad in "slots 1" "at 0x10" "magazine 9999999" "magazine -1" "word nothing 1" "slots x" ""; do
        batch "$patient" "$tmp/core" -ex "source $script" -ex "shmalloc $bad" >"$tmp/out" 2>"$tmp/err" || :
        ! grep -q Traceback "$tmp/err" || fail "shmalloc $bad: $(cat "$tmp/err")"
        [ -s "$tmp/err" ] || fail "shmalloc $bad: nothing is said"
done
echo "ok: gdb"

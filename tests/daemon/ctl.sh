#!/bin/sh
# shmallocctl: what it says, how it ends, and that those verbs that look leave no trace, whatever the heap is like.
. "$(dirname "$0")/common.sh"

# ------------------------------------------------------------------ usage and errors

expect 2 "$ctl"
says err "usage: shmallocctl VERB"
expect 2 "$ctl" frobnicate
says err 'there is no verb "frobnicate"'
expect 0 "$ctl" --help
expect 0 "$ctl" --version
for verb in ls stat top clients map check reap purge dump explain rm; do
        expect 0 "$ctl" "$verb" --help
        [ "$verb" = ls ] || expect 2 "$ctl" "$verb"
        expect 2 "$ctl" "$verb" --no-such-option
done
# The help of each verb lists the options that it takes and no others: any verb's are tried with all.
listed() {
        "$ctl" "$1" --help | sed -nE 's/^ {2,6}(-[a-zA-Z], )?--([a-z-]+)(=[A-Z]+)?.*/\2\3/p' |
                grep -vxE 'help|usage|version' || :
}
verbs="ls stat top clients map check reap purge dump explain rm"
options=$(for verb in $verbs; do listed "$verb"; done | sort -u)
[ "$(echo "$options" | wc -l)" -ge 12 ] || fail "so few options: $options"
for verb in $verbs; do
        listed "$verb" >"$tmp/listed"
        for option in $options; do
                value=
                case $option in
                node=*) value=1 ;;
                *=[A-Z]*) value=200 ;;
                esac
                word=--${option%%=*}${value:+=$value}
                set -- "$verb" "$word"
                [ "$verb" = ls ] || set -- "$@" nothing-of-the-kind
                [ "$verb" != explain ] || set -- "$@" 0
                "$ctl" "$@" >"$tmp/out" 2>"$tmp/err" || :
                is_taken=yes
                ! grep -q -- '--help' "$tmp/err" || is_taken=no
                is_listed=no
                ! grep -qxF "$option" "$tmp/listed" || is_listed=yes
                [ $is_taken = $is_listed ] ||
                        fail "$verb: $option is listed: $is_listed, taken: $is_taken: $(cat "$tmp/err")"
        done
        # The words of bash are between the quotes.
        # shellcheck disable=SC2016
        bash -c 'source "$1" && COMP_WORDS=(shmallocctl "$2" --) COMP_CWORD=2 && _shmallocctl &&
                        printf "%s\n" "${COMPREPLY[@]}"' \
                bash "$(dirname "$0")/../../daemon/install/shmallocctl.bash" "$verb" |
                grep -vx -- --help | sort >"$tmp/completed" || :
        sed 's/^\([^=]*\).*/--\1/' "$tmp/listed" | sort | diff - "$tmp/completed" >"$tmp/out" ||
                fail "$verb: the completion's options are not those of --help: $(cat "$tmp/out")"
done
expect 2 "$ctl" explain nothing-of-the-kind
expect 3 "$ctl" explain nothing-of-the-kind 0x10
says err 'nothing-of-the-kind'
expect 2 "$ctl" explain .hidden 0
for verb in stat clients map check reap purge dump rm; do
        expect 3 "$ctl" "$verb" nothing-of-the-kind
        says err 'nothing-of-the-kind'
        expect 2 "$ctl" "$verb" .hidden
done
expect 2 "$ctl" stat --json --openmetrics x
expect 2 "$ctl" map --svg=a --html=b x
expect 2 "$ctl" purge --node=1000 x
expect 3 "$ctl" stat "$tmp/no-file"
expect 2 "$ctl" top x
says err "top wants a terminal"
expect 0 "$ctl" ls
says err "no heaps in"

# ------------------------------------------------------------------ a heap in use, at rest

start_patient work hold
file=$SHMALLOC_DIR/shmalloc.work
before=$(stat -c '%b %Y' "$file")
sum=$(cksum <"$file")
expect 0 "$ctl" ls
says out work
says out "128 MiB"
expect 0 "$ctl" clients work
says out "$patient_pid patient"
says out alive
expect 0 "$ctl" stat work
says out "attached_clients                    1"
expect 0 "$ctl" stat --totals work
expect 0 "$ctl" check work
says out "in order"
expect 0 "$ctl" check --quiescent work
expect 0 "$ctl" map work
says out "slabs"
expect 0 "$ctl" dump --full work
says out "0 faults"
expect 0 "$ctl" map --svg="$tmp/map.svg" work
expect 0 "$ctl" map --html="$tmp/map.html" work
expect 0 "$ctl" dump --save="$tmp/saved" work
[ "$(stat -c '%b %Y' "$file")" = "$before" ] || fail "looking has changed the file"
[ "$(cksum <"$file")" = "$sum" ] || fail "looking has changed what is in the file"
expect 1 "$ctl" rm work
says err "process $patient_pid"

# A stopped client is one that is looked at like any other.
kill -STOP "$patient_pid"
comes_to_say stopped "$ctl" clients work
expect 0 "$ctl" check work
kill -CONT "$patient_pid"

# ------------------------------------------------------------------ JSON, pictures

for arguments in "ls --json" "explain --json work 0" "stat --json work" "stat --json --totals work" \
        "clients --json work" "check --json work"; do
        # shellcheck disable=SC2086
        expect 0 "$ctl" $arguments
        "$python" -m json.tool <"$tmp/out" >/dev/null || fail "no JSON: $arguments"
done
rsvg-convert "$tmp/map.svg" -o "$tmp/map.png" || fail "no picture"
"$python" - "$tmp/map.svg" "$tmp/map.html" <<'END' || fail "the map is not what it should be"
import sys, xml.dom.minidom
svg = xml.dom.minidom.parse(sys.argv[1])
titles = [t.firstChild.data for t in svg.getElementsByTagName("title")]
slabs = sum(t.startswith("slab of ") for t in titles)
assert slabs > 60, slabs
huge = sum(t.startswith("huge block; ") for t in titles)
assert huge >= 80, huge
assert len({r.getAttribute("fill") for r in svg.getElementsByTagName("rect")}) > 8, "colours"
page = open(sys.argv[2]).read()
assert page.startswith("<!DOCTYPE html>") and "<svg" in page and "http-equiv" not in page and "src=" not in page
END

# ------------------------------------------------------------------ the saved heap, the dead one

expect 0 "$ctl" check --quiescent "$tmp/saved"
expect 0 "$ctl" dump "$tmp/saved"
says out "heap work"
expect 0 "$ctl" stat "$tmp/saved"
[ "$(stat -c %b "$tmp/saved")" -le "$((${before% *} + 64))" ] || fail "the saved heap has lost its holes"
kill -9 "$patient_pid"
wait "$patient_pid" || :
exec 8>&-
expect 0 "$ctl" clients work
says out "dead, not reaped yet"
expect 0 "$ctl" ls
says out "1 dead"
expect 0 "$ctl" dump work
says out ", dead"
expect 0 "$ctl" reap work
says out "1 dead threads settled"
expect 0 "$ctl" check --quiescent work
expect 0 "$ctl" purge work
says out "occupied"
expect 0 "$ctl" rm work
expect 3 "$ctl" stat work

# ------------------------------------------------------------------ explain

start_patient odd point "$tmp/points"
expect 0 "$ctl" explain odd 0
says out "chunk 0"
expect 0 "$ctl" explain --ref odd 0
says out "the header"
for bad in "" x 12x -1 0x 0xg 1e9 99999999999999999999 0xfffffffffffffff0; do
        expect 2 "$ctl" explain odd -- "$bad"
done
"$python" - "$ctl" "$tmp/points" <<'END' || fail "explain does not say what is there"
import json, subprocess, sys
ctl, points = sys.argv[1:]

def explain(address, *options):
    done = subprocess.run([ctl, "explain", "--json", *options, "odd", hex(address)], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)

expected = {"live": "block allocated", "cached": "block cached", "root": "block allocated"}
lines = [line.split() for line in open(points)]
odd = [line for line in lines if line[2] == "3072"]
large = [line for line in lines if int(line[2]) > 100000]
root = [line for line in lines if line[0] == "root"]
assert len(odd) == 10 and len(large) > 3 and len(root) == 1, (len(odd), len(large), len(root))
for what, address, size in odd + large[:3] + large[-2:] + root + lines[200:900:100]:
    at, size = int(address, 16), int(size)
    for inner in 0, 1, size - 1:
        e = explain(at + inner)
        assert e["what"] == expected[what], (what, inner, e)
        assert e["block"]["pointer"] == at and e["block"]["bytes"] >= size, (what, inner, e)
        assert e["pointer"] == at + inner, e
        assert e["root"] == ("the-root" if what == "root" else None), e
        if what == "cached":
            assert e["magazine"]["owner"]["name"] == "patient" and e["magazine"]["entry"] < e["magazine"]["entries"], e
        else:
            assert e["magazine"] is None, e
    assert explain(e["reference"], "--ref")["block"] == explain(e["offset"])["block"] == e["block"], e

# All blocks of one slab: those in it are as many as its word counts, and the others are in the patient's hands or
# cache.
e = explain(int(odd[5][1], 16))
slab, start = e["slab"], e["block"]["pointer"] - e["block"]["index"] * 3072
states = [explain(start + i * 3072)["what"] for i in range(slab["blocks"])]
assert states.count("block free in its slab") == slab["free"], (slab, states)
assert states.count("block allocated") <= 8 and "block cached" in states, (slab, states)
assert {"block free in its slab", "block cached", "block allocated"} >= set(states), states
assert explain(start + slab["blocks"] * 3072 + 5)["what"] in ("rest", "free", "block allocated"), slab
END
cached=$(awk '$1 == "cached" { print $2; exit }' "$tmp/points")
expect 0 "$ctl" explain odd "$cached"
says out "cached in magazine"
says out "process $patient_pid \"patient\", alive"
kill -9 "$patient_pid"
wait "$patient_pid" || :
exec 8>&-
expect 0 "$ctl" explain odd "$cached"
says out "process $patient_pid \"patient\", dead"
expect 0 "$ctl" reap odd
expect 0 "$ctl" explain odd "$cached"
! grep -q "of thread" "$tmp/out" || fail "the dead have been settled, and a block is in their cache"
expect 0 "$ctl" rm odd

# ------------------------------------------------------------------ who is dead, and who is not

# start_zombie HEAP   a client that nobody waits for: a child of somebody who does not.  Its pid is $zombie_pid.
start_zombie() {
        rm -f "$tmp/pid" "$tmp/said"
        mkfifo "$tmp/said"
        "$python" - "$patient" "$1" >"$tmp/said" <<'END' 8>&- &
import os, signal, subprocess, sys
victim = subprocess.Popen([sys.argv[1], sys.argv[2], "hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
victim.stdout.readline()
victim.kill()
os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)
print(victim.pid, flush=True)
signal.pause()
END
        zombie_parent=$!
        pids="$pids $zombie_parent"
        read -r zombie_pid <"$tmp/said"
}
start_zombie undead
expect 0 "$ctl" clients undead
says out "$zombie_pid patient"
says out "zombie, not reaped yet"
expect 0 "$ctl" clients --json undead
says out '"zombie"'
expect 0 "$ctl" ls
says out "1 dead"
expect 0 "$ctl" rm undead
kill -9 "$zombie_parent"

# Of a pid namespace within, which can be seen from here; and from a namespace beside it, from which it cannot.
if unshare -pf --mount-proc true 2>/dev/null; then
        rm -f "$tmp/in" "$tmp/ready"
        mkfifo "$tmp/in" "$tmp/ready"
        unshare -pf --kill-child --mount-proc "$patient" far hold <"$tmp/in" >"$tmp/ready" &
        outer=$!
        pids="$pids $outer"
        exec 8>"$tmp/in"
        read -r line <"$tmp/ready"
        inner=$(ps -o pid= --ppid "$outer" | tr -d ' ')
        ns=$(stat -Lc %i "/proc/$inner/ns/pid")
        expect 0 "$ctl" clients far
        says out "$inner patient"
        says out "alive, process 1 of pid namespace $ns"
        expect 1 "$ctl" rm far
        says err "process $inner for one (alive, process 1 of pid namespace $ns)"
        kill -STOP "$inner"
        comes_to_say "stopped, process 1" "$ctl" clients far
        expect 0 unshare -pf --mount-proc "$ctl" clients far
        says out "1 patient"
        says out "elsewhere, not known to be dead, process 1 of pid namespace $ns"
        expect 1 unshare -pf --mount-proc "$ctl" rm far
        says err "elsewhere, not known to be dead"
        expect 0 unshare -m sh -c 'mount -t tmpfs none /proc && exec "$0" clients far' "$ctl"
        says out "elsewhere, not known to be dead, process 1 of pid namespace $ns"
        kill -9 "$inner"
        wait "$outer" || :
        exec 8>&-
        expect 0 unshare -pf --mount-proc "$ctl" clients far # whose namespace may have the number by now
        says out "dead, not reaped yet"
        expect 0 "$ctl" clients far
        says out "dead, not reaped yet, process 1 of pid namespace $ns"
        expect 0 "$ctl" reap far
        expect 0 "$ctl" clients far
        says out "elsewhere, holds nothing, process 1 of pid namespace $ns"
        expect 0 "$ctl" rm far

        # Without /proc the living are not dead either.
        start_patient near hold
        expect 0 unshare -m sh -c 'mount -t tmpfs none /proc && exec "$0" clients near' "$ctl"
        says out alive
        expect 1 unshare -m sh -c 'mount -t tmpfs none /proc && exec "$0" rm near' "$ctl"
        says err "process $patient_pid"
        end_patient
        expect 0 "$ctl" rm near
else
        echo "skipped: clients of other pid namespaces need the right to make them"
fi

# ------------------------------------------------------------------ load

start_patient busy busy
for _ in 1 2 3 4 5 6 7 8; do
        expect 0 "$ctl" check busy
        expect 0 "$ctl" map busy
        expect 0 "$ctl" stat --json busy
        "$python" -m json.tool <"$tmp/out" >/dev/null || fail "no JSON under load"
done
end_patient
expect 0 "$ctl" check --quiescent busy

# What its user has freed comes back, and nobody has died.
occupied=$(stat -c %b "$SHMALLOC_DIR/shmalloc.busy")
expect 0 "$ctl" reap busy
says out "heap busy: 0 dead threads settled"
expect 0 "$ctl" purge busy
says out "heap busy: occupied"
[ "$(stat -c %b "$SHMALLOC_DIR/shmalloc.busy")" -lt $((occupied / 2)) ] || fail "purge gives nothing back"

# ------------------------------------------------------------------ a heap whose file has lost its name

start_patient lost hold
expect 0 "$ctl" ls
! grep -q nameless "$tmp/out" || fail "a heap that has its name is called nameless"
rm "$SHMALLOC_DIR/shmalloc.lost"
expect 0 "$ctl" ls
grep '^lost (deleted) .*128 MiB .*0600 1 .*nameless, open in process '"$patient_pid"'$' "$tmp/out" >/dev/null ||
        fail "the heap is not listed: $(cat "$tmp/out")"
expect 0 "$ctl" ls --json
"$python" -c 'import json, sys
heaps = json.load(sys.stdin)["heaps"]
assert [(h["clients"], h["uid"]) for h in heaps if h["nameless"]] == [(1, int(sys.argv[1]))], heaps
assert [h for h in heaps if not h["nameless"]], heaps' "$(id -u)" <"$tmp/out" ||
        fail "JSON does not say which heap is nameless"
end_patient
expect 0 "$ctl" ls
! grep -q lost "$tmp/out" || fail "nobody has the heap open any more, and it is listed"

# ------------------------------------------------------------------ what is no heap, or a broken one

echo "not a heap" >"$SHMALLOC_DIR/shmalloc.text"
mkdir "$SHMALLOC_DIR/shmalloc.folder"
expect 1 "$ctl" stat text
expect 1 "$ctl" check folder
expect 0 "$ctl" ls
says out text
says out folder
expect 0 "$ctl" rm text
rmdir "$SHMALLOC_DIR/shmalloc.folder"

# Words overwritten at random: it may say what it likes, but it ends by itself, and says that something is wrong.
"$python" - "$SHMALLOC_DIR/shmalloc.busy" "$ctl" "$tmp" <<'END' || fail "a spoilt heap"
import os, random, shutil, subprocess, sys
source, ctl, tmp = sys.argv[1:]
random.seed(20261122)
copy = tmp + "/spoilt"
found = 0
for turn in range(25):
    subprocess.run(["cp", "--sparse=always", source, copy], check=True)
    fd = os.open(copy, os.O_RDWR)
    limit = os.fstat(fd).st_size - (128 << 20)
    for _ in range(200):
        try:
            at = os.lseek(fd, random.randrange(4096, limit), os.SEEK_DATA)
        except OSError:
            continue
        if at < limit:
            os.pwrite(fd, random.randbytes(8), at // 4096 * 4096 + random.randrange(512) * 8)
    os.close(fd)
    anywhere = ["explain", str(random.randrange(128 << 20))]
    inside = ["explain", "--ref", str(random.randrange(limit + (8 << 20)))]
    for verb in ["check"], ["stat"], ["clients"], ["map"], ["dump", "--full"], anywhere, inside:
        done = subprocess.run([ctl, verb[0], copy, *verb[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=600)
        assert done.returncode in (0, 1), (turn, verb, done)
        if verb == ["check"]:
            found += done.returncode
assert found >= 20, found
END

# Cut off: a message, not a signal.
truncate -s 8192 "$tmp/spoilt"
expect 1 "$ctl" stat "$tmp/spoilt"
says err truncated

# ------------------------------------------------------------------ another layout

# other_layout NAME   an abandoned heap of one
other_layout() {
        start_patient "$1" hold
        end_patient
        printf '\377\0\0\0' | dd of="$SHMALLOC_DIR/shmalloc.$1" bs=1 seek=8 conv=notrunc status=none
}
other_layout old
other_layout older
expect 1 "$ctl" stat old
says err "layout version 255"
expect 1 "$ctl" rm --stale busy
says err "is of this layout: it stays"
expect 3 "$ctl" rm --stale nothing-of-the-kind
exec 7<"$SHMALLOC_DIR/shmalloc.old"
expect 1 "$ctl" rm --stale old 7<&-
says err "somebody has it open"
expect 1 "$ctl" rm --stale 7<&-
says out "heap older: of another layout, and nobody had it open: removed"
says err "somebody has it open"
[ -e "$SHMALLOC_DIR/shmalloc.old" ] || fail "a heap in use was removed"
[ -e "$SHMALLOC_DIR/shmalloc.busy" ] || fail "a heap of this layout was removed"
exec 7<&-
expect 0 "$ctl" rm --stale old
[ ! -e "$SHMALLOC_DIR/shmalloc.old" ] || fail "the heap is still there"
expect 0 "$ctl" rm --stale

# ------------------------------------------------------------------ rights

if [ "$(id -u)" -eq 0 ]; then
        chmod 755 "$SHMALLOC_DIR" "$tmp"
        expect 4 setpriv --reuid=65534 --clear-groups "$ctl" stat busy
        says err "belongs to uid 0 with mode 0600: uid 65534 may not"
        expect 4 setpriv --reuid=65534 --clear-groups "$ctl" reap busy
        expect 0 setpriv --reuid=65534 --clear-groups "$ctl" ls
        says out "may not read it"
        chmod 644 "$SHMALLOC_DIR/shmalloc.busy"
        expect 0 setpriv --reuid=65534 --clear-groups "$ctl" check busy
        expect 4 setpriv --reuid=65534 --clear-groups "$ctl" purge busy
else
        echo "skipped: that another user is refused needs root"
fi

# ------------------------------------------------------------------ a full file system

if [ "$(id -u)" -eq 0 ] && mkdir "$tmp/small" && mount -t tmpfs -o size=16m tmpfs "$tmp/small" 2>/dev/null; then
        SHMALLOC_DIR=$tmp/small "$patient" full hold </dev/null >/dev/null 2>&1 || :
        if [ -e "$tmp/small/shmalloc.full" ]; then
                head -c 32m /dev/zero >"$tmp/small/rest" 2>/dev/null || :
                for verb in ls stat check clients map dump explain; do
                        name=full
                        [ "$verb" != ls ] || name=
                        [ "$verb" != explain ] || name="full 0"
                        # shellcheck disable=SC2086
                        SHMALLOC_DIR=$tmp/small expect 0 "$ctl" $verb $name
                done
        fi
        umount "$tmp/small"
else
        echo "skipped: a full file system needs root, and the right to mount"
fi
echo "ok: shmallocctl"

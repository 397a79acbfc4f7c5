#!/bin/sh
# shmallocctl: what it says, how it ends, and that those verbs that look leave no trace, whatever the heap is like.
. "$(dirname "$0")/common.sh"

# fits FILE   no line is longer than 80 columns
fits() {
        ! LC_ALL=C.UTF-8 grep -E '^.{81}' "$tmp/$1" || fail "these lines are longer than 80 columns"
}

# ------------------------------------------------------------------ usage and errors

expect 2 "$ctl"
says err "usage: shmallocctl VERB"
expect 2 "$ctl" frobnicate
says err 'there is no verb "frobnicate"'
expect 0 "$ctl" --help
fits out
expect 0 "$ctl" --version
expect 0 "$daemon" --version
says out "shmallocd "
expect 0 "$daemon" --help
says out "Exit status: 0 "
fits out
for verb in ls stat top clients map check reap purge dump explain roots rm; do
        expect 0 "$ctl" "$verb" --version
        says out "shmallocctl "
        expect 0 "$ctl" "$verb" --help
        says out "Exit status: 0 good, 1 "
        ! grep -q Mandatory "$tmp/out" || fail "the help of $verb says what goes without saying"
        fits out
        [ "$verb" = ls ] || expect 2 "$ctl" "$verb"
        expect 2 "$ctl" "$verb" --no-such-option
done
# The help of each verb lists the options that it takes and no others: any verb's are tried with all.
listed() {
        "$ctl" "$1" --help | sed -nE 's/^ {2,6}(-[a-zA-Z], )?--([a-z-]+)(=[A-Z]+)?.*/\2\3/p' |
                grep -vxE 'help|usage|version' || :
}
verbs="ls stat top clients map check reap purge dump explain roots rm"
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
done
expect 2 "$ctl" explain nothing-of-the-kind
expect 3 "$ctl" explain nothing-of-the-kind 0x10
says err 'nothing-of-the-kind'
expect 2 "$ctl" explain .hidden 0
for verb in stat clients map check reap purge dump roots rm; do
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
grep -qE ' 0600 1  ' "$tmp/out" || fail "the mode is not shown as 0600: $(cat "$tmp/out")"
fits out
expect 0 "$ctl" ls --bytes
says out " 134217728 "
expect 0 "$ctl" clients work
says out "$patient_pid patient"
says out alive
fits out
expect 0 "$ctl" stat work
grep -qE '^  attached_clients +1  clients have the heap open' "$tmp/out" || fail "stat does not say who is there"
grep -qE '^  capacity_bytes +128 MiB  blocks may take' "$tmp/out" || fail "stat has no sizes in units"
grep -qE '^ +1024 +[0-9]+ +[0-9.]+ KiB +[0-9]+' "$tmp/out" || fail "stat has no line for blocks of 1 KiB"
fits out
expect 0 "$ctl" stat -b work
grep -qE '^  capacity_bytes +134217728  bytes blocks may' "$tmp/out" || fail "stat -b has no bytes"
fits out
expect 0 "$ctl" stat --totals work
expect 0 "$ctl" roots work
says err 'no named objects in heap "work"'
expect 0 "$ctl" check work
says out "in order"
expect 0 "$ctl" check --quiescent work
expect 0 "$ctl" map work
says out "slabs"
fits out
expect 0 "$ctl" dump --full work
says out "0 faults"
expect 0 "$ctl" map --svg="$tmp/map.svg" work
expect 0 "$ctl" map --html="$tmp/map.html" work
expect 0 "$ctl" dump --save="$tmp/saved" work
[ "$(stat -c '%b %Y' "$file")" = "$before" ] || fail "looking has changed the file"
[ "$(cksum <"$file")" = "$sum" ] || fail "looking has changed what is in the file"
expect 1 "$ctl" rm work
says err "heap \"work\" has 1 client, process $patient_pid (alive): end it, or"

# What does not arrive is a failure, of whatever is printed.
is_lost() {
        got=0
        "$@" >/dev/full 2>"$tmp/err" || got=$?
        [ $got -eq 1 ] || fail "status $got instead of 1 with a full standard output: $*"
        says err "cannot write to standard output"
        [ "$(wc -l <"$tmp/err")" -eq 1 ] || fail "this is said more than once: $(cat "$tmp/err")"
}
for verb in stat clients map check dump; do
        is_lost "$ctl" "$verb" work
done
is_lost "$ctl" ls
is_lost "$ctl" explain work 0
for arguments in "ls" "stat work" "clients work" "check work" "roots work" "explain work 0"; do
        # shellcheck disable=SC2086
        is_lost "$ctl" $arguments --json
done
is_lost "$ctl" stat --openmetrics work
is_lost "$ctl" map --svg=- work
is_lost "$ctl" --help
is_lost "$ctl" --version
is_lost "$ctl" stat --help
is_lost "$daemon" --help
is_lost "$daemon" --version

# Colours are for terminals that have them, and for those who want them.
"$python" - "$ctl" <<'END' || fail "colours"
import os, re, subprocess, sys

def coloured(verb, **env):
    leader, terminal = os.openpty()
    everything = dict(os.environ, **env)
    done = subprocess.Popen([sys.argv[1], *verb, "work"], stdin=terminal, stdout=terminal, env=everything)
    os.close(terminal)
    text = b""
    while True:
        try:
            more = os.read(leader, 65536)
        except OSError:
            break
        if not more:
            break
        text += more
    assert done.wait() == 0, (verb, env, text)
    os.close(leader)
    return re.search(rb"\033\[([0-9;]*;)?[34][0-8][;m]", text) is not None # 39 and 49 are no colours

for verb in ["map"], ["top", "--count=1", "--interval=100"]:
    assert coloured(verb, TERM="xterm-256color"), verb
    assert coloured(verb, TERM="xterm-256color", NO_COLOR=""), verb
    assert not coloured(verb, TERM="xterm-256color", NO_COLOR="1"), verb
    assert not coloured(verb, TERM="dumb"), verb
leader, terminal = os.openpty()
done = subprocess.run([sys.argv[1], "top", "work"], stdin=terminal, stdout=terminal, stderr=subprocess.PIPE,
                      env=dict(os.environ, TERM="no-such-terminal"))
assert done.returncode == 2 and b"TERM=no-such-terminal" in done.stderr, done
END

# A stopped client is one that is looked at like any other.
kill -STOP "$patient_pid"
comes_to_say stopped "$ctl" clients work
expect 0 "$ctl" check work
kill -CONT "$patient_pid"

# ------------------------------------------------------------------ JSON, pictures

for arguments in "ls --json" "explain --json work 0" "stat --json work" "stat --json --totals work" \
        "clients --json work" "check --json work" "roots --json work"; do
        # shellcheck disable=SC2086
        expect 0 "$ctl" $arguments
        "$python" -m json.tool <"$tmp/out" >/dev/null || fail "no JSON: $arguments"
done
sed -n '/^<script>/,/^<\/script>/p' "$tmp/map.html" | sed '1d;$d' >"$tmp/map.js"
if command -v node >/dev/null; then
        node "$(dirname "$0")/map_page.js" "$tmp/map.svg" "$tmp/map.js" || fail "the page does not do what it should"
else
        echo "skipped: the script of the map's page needs node to be run"
fi
rsvg-convert "$tmp/map.svg" -o "$tmp/map.png" || fail "no picture"
"$python" - "$tmp/map.svg" "$tmp/map.html" <<'END' || fail "the map is not what it should be"
import re, sys, xml.dom.minidom
svg = xml.dom.minidom.parse(sys.argv[1])
titles = [t.firstChild.data for t in svg.getElementsByTagName("title")]
slabs = sum(t.startswith("slab of ") for t in titles)
assert slabs > 60, slabs
huge = sum(t.startswith("huge block; ") for t in titles)
assert huge >= 80, huge
assert len({r.getAttribute("fill") for r in svg.getElementsByTagName("rect")}) > 8, "colours"
cells = [g for g in svg.getElementsByTagName("g") if g.hasAttribute("data-kind")]
assert len(cells) == len(titles)
fills = {g.getAttribute("data-fill") for g in cells if g.getAttribute("data-kind") == "slab"}
assert len(fills) > 10 and all(0 <= int(f) <= 100 for f in fills), fills
# Within a cell its own colour, below which there is a pale shade of it, and no colour that all have.
pale = {g.getAttribute("data-class"): g.getElementsByTagName("rect")[0].getAttribute("fill") for g in cells
        if g.getAttribute("data-kind") in ("slab", "large")}
assert len(set(pale.values())) == len(pale) > 8, pale
page = open(sys.argv[2]).read()
assert page.startswith("<!DOCTYPE html>") and "<svg" in page and "http-equiv" not in page and "src=" not in page
assert re.search(r'<meta name="date" content="20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z">', page), "no date"
assert re.search(r"<text [^>]*>20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9:]{8} UTC: ", page), "no date in the picture"
# What the script asks for is there.
script = page[page.index("<script>"):]
ids = set(re.findall(r"by\('([a-z]+)'\)", script)) | {"kind", "class", "node"}
assert ids >= {"zoom", "text", "least", "shade"}, ids
for name in ids:
    assert page.count('id="%s"' % name) == 1, name
for name in "kind", "class", "fill":
    assert all(g.getAttribute("data-" + name) for g in cells if g.getAttribute("data-kind") == "slab"), name
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
says out "1 dead thread settled"
expect 0 "$ctl" check --quiescent work
is_lost "$ctl" reap work
is_lost "$ctl" purge work
expect 0 "$ctl" purge work
says out "occupied"
expect 0 "$ctl" rm work
expect 3 "$ctl" stat work

# Who purges settles the dead before, and leaves nobody behind: neither them nor itself, and not if it fails either.
start_patient messy hold
kill -9 "$patient_pid"
wait "$patient_pid" || :
exec 8>&-
expect 0 "$ctl" ls
says out "1 dead"
expect 2 "$ctl" purge --node=63 messy
expect 0 "$ctl" clients messy
[ "$(wc -l <"$tmp/out")" -eq 1 ] || fail "there are clients left: $(cat "$tmp/out")"
expect 0 "$ctl" rm messy
start_patient messy hold
kill -9 "$patient_pid"
wait "$patient_pid" || :
exec 8>&-
expect 0 "$ctl" purge messy
expect 0 "$ctl" clients messy
[ "$(wc -l <"$tmp/out")" -eq 1 ] || fail "there are clients left: $(cat "$tmp/out")"
expect 0 "$ctl" ls
! grep -q dead "$tmp/out" || fail "purge leaves the dead: $(cat "$tmp/out")"
expect 0 "$ctl" rm messy

# ------------------------------------------------------------------ explain

start_patient odd point "$tmp/points"
expect 0 "$ctl" explain odd 0
says out "chunk 0"
expect 0 "$ctl" explain --ref odd 0
says out "the header"
# Every table has a name, wherever one looks.
"$python" - "$ctl" <<'END' || fail "a table has no name"
import json, subprocess, sys
names = set()
for at in [*range(0, 256 << 10, 8 << 10), *range(256 << 10, 4 << 20, 64 << 10)]:
    e = json.loads(subprocess.run([sys.argv[1], "explain", "--json", "--ref", "odd", str(at)], stdout=subprocess.PIPE,
                                  check=True).stdout)
    assert e["what"] != "table" or e["detail"], e
    names.add(e["detail"])
assert {"clients", "gates of thread slots"} <= names, names
END
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

# ------------------------------------------------------------------ roots

expect 0 "$ctl" roots odd
root=$(awk '$1 == "root" { print $2 }' "$tmp/points")
grep -qE "^the-root +39\.1 KiB +$root\$" "$tmp/out" || fail "the named object is not listed: $(cat "$tmp/out")"
fits out
expect 0 "$ctl" roots --bytes odd
grep -qE "^the-root +40000 +$root\$" "$tmp/out" || fail "the named object is not listed: $(cat "$tmp/out")"
expect 0 "$ctl" dump odd
says out "  \"the-root\": 40000 bytes at $root,"
expect 0 "$ctl" map odd
grep -qE '^ +root +39\.1 KiB at \+.*: the-root$' "$tmp/out" || fail "the named object is not on the map"
expect 0 "$ctl" map --svg=- odd
grep -q 'root &quot;the-root&quot;</title>' "$tmp/out" || fail "the named object is not on the picture"
expect 0 "$ctl" dump --save="$tmp/rooted" odd
"$python" - "$ctl" "$tmp/rooted" "$root" <<'END' || fail "names that others wrote"
import json, os, struct, subprocess, sys, xml.dom.minidom
ctl, path, root = sys.argv[1], sys.argv[2], int(sys.argv[3], 16)
heap = open(path, "r+b", buffering=0)
at, name_at = 0, -1
while name_at < 0: # the first stretch that has it
    at = os.lseek(heap.fileno(), at, os.SEEK_DATA)
    end = os.lseek(heap.fileno(), at, os.SEEK_HOLE)
    found = os.pread(heap.fileno(), end - at, at).find(b"the-root\0")
    name_at, at = at + found if found >= 0 else -1, end

def run(*arguments, status=0):
    done = subprocess.run([ctl, arguments[0], *arguments[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == status, (arguments, done)
    return done.stdout

before = json.loads(run("roots", "--json", path))
assert before["is_complete"] is True
[r] = before["roots"]
assert r["name"] == "the-root" and r["bytes"] == 40000 and r["pointer"] == root, r
assert json.loads(run("explain", "--json", "--ref", path, str(r["reference"])))["block"]["pointer"] == root
assert json.loads(run("explain", "--json", path, str(r["offset"])))["root"] == "the-root"
evil = b"\033[31m</title><script>&\"'\\\xff\xc3\xb6\xe2\x80\xae\n\x7f\0"
heap.seek(name_at)
heap.write(evil)
plain = r"\x1b[31m</title><script>&" + "\"'" + r"\x5c\xff\xc3\xb6\xe2\x80\xae\x0a\x7f"
unicode = plain.replace(r"\xc3\xb6", "\u00f6")
for verb in ["roots", path], ["dump", path], ["map", path], ["explain", "--ref", path, str(r["reference"])]:
    out = run(*verb)
    assert plain.encode() in out, (verb, out[-2000:])
    assert b"\033" not in out and b"\xff" not in out, verb
for verb in ["roots", "--json", path], ["explain", "--json", "--ref", path, str(r["reference"])]:
    e = json.loads(run(*verb))
    assert (e["roots"][0]["name"] if "roots" in e else e["root"]) == unicode, e
svg = run("map", "--svg=-", path)
titles = [t.firstChild.data for t in xml.dom.minidom.parseString(svg).getElementsByTagName("title")]
assert any(t.endswith('; root "' + unicode + '"') for t in titles), [t for t in titles if "root" in t]
assert run("map", "--html=-", path).count(b"<script>") == 1
# A name without an end, and a chain that leads nowhere.
heap.seek(name_at)
heap.write(b"x" * 64)
assert json.loads(run("roots", "--json", path))["roots"][0]["name"] == "x" * 63
heap.seek(name_at - 8)
heap.write(struct.pack("<I", 60000))
assert json.loads(run("roots", "--json", path, status=1))["is_complete"] is False
END

# ------------------------------------------------------------------ explain, of the dead

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
        says err "process $inner (alive, process 1 of pid namespace $ns)"
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
    for verb in ["check"], ["stat"], ["clients"], ["map"], ["dump", "--full"], ["roots"], anywhere, inside:
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
                for verb in ls stat check clients map dump roots explain; do
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

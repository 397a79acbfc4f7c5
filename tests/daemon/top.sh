#!/bin/sh
# shmallocctl top, driven in a real terminal.
. "$(dirname "$0")/common.sh"

if ! command -v tmux >/dev/null; then
        echo "skipped: tmux is not installed"
        exit 77
fi
# The server's socket lies in our directory, and nobody's configuration is read.
TMUX_TMPDIR=$tmp
export TMUX_TMPDIR
unset TMUX || :
screen() {
        tmux -f /dev/null -L top "$@"
}
# at_end of common.sh, and the server.
trap 'screen kill-server 2>/dev/null || :; at_end' EXIT

# shows TEXT   waits until the screen does; tmux tells of each change
shows() {
        n=0
        until screen capture-pane -p -t top | grep -qF -- "$1"; do
                n=$((n + 1))
                [ "$n" -lt 2000 ] || {
                        screen capture-pane -p -t top
                        fail "\"$1\" is not on the screen"
                }
                # Until the program has drawn again: its interval is over when the next count has been taken.
                "$ctl" stat --totals work >/dev/null
        done
}

start_patient work busy
screen new-session -d -s top -x 100 -y 30 "LC_ALL=C.UTF-8 $ctl top --interval=100 work; echo ended with \$?; exec cat"
shows "every 0.1 s  no daemon: it does not run"
shows "capacity 128 MiB"
shows "allocated"
shows "blocks out"
shows "arena    0"
shows "$patient_pid patient"
shows "CACHED v"
screen send-keys -t top s
shows "THREADS v"
screen send-keys -t top s
shows "PID v"
screen send-keys -t top +
shows "every 0.2 s"
screen send-keys -t top p
shows "(paused)"
screen send-keys -t top p
# In any width nothing runs into the next line, and nothing that matters is missing.  Higher than any of it is long.
for columns in 40 41 53 64 79 80 120 200; do
        screen resize-window -t top -x $columns -y 45
        # Drawn anew: the bars end where the window does.
        n=0
        until screen capture-pane -p -t top >"$tmp/pane" && "$python" - "$tmp/pane" $columns "$patient_pid" <<'END'
import re, sys
lines, columns, pid = open(sys.argv[1]).read().split("\n"), int(sys.argv[2]), sys.argv[3]

def one(pattern):
    found = [i for i, line in enumerate(lines) if re.search(pattern, line)]
    return found[0] if len(found) == 1 else sys.exit("%s: in lines %s" % (pattern, found))

assert all(len(line) <= columns for line in lines)
bar, arenas, clients = one(r"^allocated .*iB"), one(r"^ +# .*ALLOCATED"), one(r"^ *PID v .*CACHED")
size = re.search(r"[0-9.]+ .iB|[0-9]+ B", lines[bar]).end()
if size != (columns if columns < 48 else columns - 18):
    sys.exit("the bar ends at %d" % size)
one(r"^work ")
one("capacity 128 MiB")
one(r"^cached ")
one(r"^dirty ")
one("deaths settled")
one("named objects 0")
one("^q quit")
if not re.match(r"^arena    0 ", lines[arenas + 1]) or lines[arenas + 2].strip():
    sys.exit("no arena, or one that goes on in the next line: %s" % lines[arenas:arenas + 3])
if not re.match(r"^ *%s patient .*(iB|[0-9] B) +(alive|$)" % pid, lines[clients + 1]) or lines[clients + 2].strip():
    sys.exit("no client, or one that goes on in the next line: %s" % lines[clients:clients + 3])
if columns >= 80 and not all(word in lines[arenas] for word in ("NODE", "THREADS", "CHUNKS", "FREE", "DIRTY")):
    sys.exit("columns are missing: " + lines[arenas])
END
        do
                n=$((n + 1))
                [ "$n" -lt 300 ] || {
                        cat "$tmp/pane"
                        fail "in $columns columns"
                }
                "$ctl" stat --totals work >/dev/null
        done 2>"$tmp/err"
done
screen resize-window -t top -x 60 -y 12
shows "q quit"
screen resize-window -t top -x 100 -y 30
kill -9 "$patient_pid"
wait "$patient_pid" || :
exec 8>&-
shows "1 dead with 1 thread not reaped yet"
# What is too long ends at the edge.
screen resize-window -t top -x 40 -y 45
n=0
until screen capture-pane -p -t top >"$tmp/pane" &&
        grep -A1 "^ *$patient_pid patient .* dead" "$tmp/pane" >"$tmp/row" && [ "$(wc -L <"$tmp/pane")" -le 40 ]; do
        n=$((n + 1))
        [ "$n" -lt 300 ] || {
                cat "$tmp/pane"
                fail "no client in 40 columns"
        }
        "$ctl" stat --totals work >/dev/null
done
[ -z "$(sed -n '2s/ //gp' "$tmp/row")" ] || fail "a row goes on in the next line: $(cat "$tmp/row")"
screen resize-window -t top -x 100 -y 30
expect 0 "$ctl" reap work
shows "deaths settled 1"
shows "clients 0  threads 0"
screen send-keys -t top q
shows "ended with 0"
echo "ok: top"

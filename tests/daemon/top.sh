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
screen resize-window -t top -x 60 -y 12
shows "q quit"
screen resize-window -t top -x 100 -y 30
kill -9 "$patient_pid"
wait "$patient_pid" || :
exec 8>&-
shows "1 dead with 1 threads not reaped yet"
expect 0 "$ctl" reap work
shows "deaths settled 1"
shows "clients 0;"
screen send-keys -t top q
shows "ended with 0"
echo "ok: top"

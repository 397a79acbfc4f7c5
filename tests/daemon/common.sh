# What the scripts of this folder share.  The programs are named by SHMALLOCCTL, SHMALLOCD and PATIENT.
# shellcheck shell=sh
set -eu
ctl=${SHMALLOCCTL:?names the tool}
daemon=${SHMALLOCD:?names the daemon}
patient=${PATIENT:?names the client to look at}

SHMALLOC_DIR=$(mktemp -d /dev/shm/shmalloc-test-XXXXXX)
SHMALLOC_SOCKET=$SHMALLOC_DIR/socket
SHMALLOC_CONF=capacity:128M
export SHMALLOC_DIR SHMALLOC_SOCKET SHMALLOC_CONF
tmp=$SHMALLOC_DIR/tmp
mkdir "$tmp"
# Debian's, which has Debian's modules.
python=/usr/bin/python3
[ -x "$python" ] || python=python3
pids=
at_end() {
        # shellcheck disable=SC2086
        [ -z "$pids" ] || kill -9 $pids 2>/dev/null || :
        rm -rf "$SHMALLOC_DIR"
}
trap at_end EXIT
trap 'exit 1' HUP INT TERM

fail() {
        echo "failed: $*"
        exit 1
}

# expect STATUS COMMAND...   runs it with its output in $tmp/out and $tmp/err
expect() {
        wanted=$1
        shift
        got=0
        "$@" >"$tmp/out" 2>"$tmp/err" || got=$?
        if [ "$got" -ne "$wanted" ]; then
                sed 's/^/  /' "$tmp/out" "$tmp/err" | head -n 30
                fail "status $got instead of $wanted: $*"
        fi
}

# says FILE TEXT   $tmp/FILE contains the text
says() {
        grep -qF -- "$2" "$tmp/$1" || {
                sed 's/^/  /' "$tmp/$1" | head -n 30
                fail "\"$2\" is not in the output"
        }
}

# start_patient HEAP MODE [FILE]   on descriptor 8: it ends when that is closed.  Its pid is $patient_pid.
start_patient() {
        rm -f "$tmp/in" "$tmp/ready"
        mkfifo "$tmp/in" "$tmp/ready"
        "$patient" "$@" <"$tmp/in" >"$tmp/ready" 8>&- 9>&- &
        patient_pid=$!
        pids="$pids $patient_pid"
        exec 8>"$tmp/in"
        read -r line <"$tmp/ready"
        [ "$line" = ready ] || fail "the client did not get ready"
}

end_patient() {
        exec 8>&-
        wait "$patient_pid" || fail "the client ended with $?"
}

# comes_to_say TEXT COMMAND...   repeats it until it does: for what the system does a little later
comes_to_say() {
        text=$1
        shift
        n=0
        until "$@" 2>&1 | grep -qF -- "$text"; do
                n=$((n + 1))
                [ "$n" -lt 1000 ] || fail "\"$text\" is not said by: $*"
        done
}

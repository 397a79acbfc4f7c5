#!/bin/sh
# Nobody reads the daemon's log: it goes on keeping heaps, answering and ending, and later says how many lines were
# dropped.
. "$(dirname "$0")/common.sh"

"$python" - "$daemon" "$ctl" <<'END' || fail "a log that nobody reads"
import ctypes, fcntl, os, re, signal, struct, subprocess, sys, termios
daemon, ctl = sys.argv[1:]
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} shmallocd\[\d+\] \w+: .+\n")

def start(out):
    """In a process group of its own."""
    def prepare():
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        os.setpgid(0, 0)
    return subprocess.Popen([daemon, "--heap=logged", "--capacity=64M", "--verbose"], stderr=out, stdout=out,
                            stdin=subprocess.DEVNULL, preexec_fn=prepare)

def answers():
    """It is waited for a second, which may not be enough on a busy machine: asked up to 60 times."""
    return any(b" kept" in subprocess.run([ctl, "ls"], stdout=subprocess.PIPE).stdout for _ in range(60))

def fill(process, unread, n=80):
    """Makes it say more than anybody takes, and be asked something after each line."""
    for i in range(n):
        process.send_signal(signal.SIGHUP)
        assert answers(), "the daemon does not answer after %d signals" % i
    return unread()

def read_until(source, text):
    lines = []
    while not lines or text not in lines[-1]:
        line = source.readline()
        assert line, ("the log ends", lines[-3:])
        lines.append(line)
    return lines

def check(lines):
    for line in lines:
        assert LINE.fullmatch(line), ("not a whole line", line)
    said = [re.search(r": (\d+) lines? (?:was|were) dropped here", line) for line in lines]
    dropped = [int(m.group(1)) for m in said if m]
    assert dropped and sum(dropped) > 0, (dropped, lines[-3:])

def try_pipe():
    r, w = os.pipe()
    fcntl.fcntl(w, fcntl.F_SETPIPE_SZ, 4096)
    return r, w, lambda: struct.unpack("i", fcntl.ioctl(r, termios.FIONREAD, b"\0" * 4))[0]

def try_socket():
    import socket
    a, b = socket.socketpair()
    for s in a, b:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return a.detach(), b.detach(), lambda: 1

for make in try_pipe, try_socket:
    r, w, unread = make()
    process = start(w)
    source = os.fdopen(r, "r")
    read_until(source, "ready:")
    assert not fcntl.fcntl(w, fcntl.F_GETFL) & os.O_NONBLOCK
    assert fill(process, unread) > 0
    assert not fcntl.fcntl(w, fcntl.F_GETFL) & os.O_NONBLOCK, "flags of others were changed"
    check(read_until(source, " dropped here"))
    process.send_signal(signal.SIGHUP)
    read_until(source, "signal HUP")
    fill(process, unread, 45 if make is try_pipe else 5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=600) == 0, "it does not end"
    os.close(w)
    for line in source:
        assert LINE.fullmatch(line), ("not a whole line", line)
    source.close()

def try_terminal():
    """stty tostop, and the daemon in the background: whoever writes there is stopped, unless it ignores that."""
    terminal, s = os.openpty()
    leader = os.fork()
    if leader == 0:
        os.close(terminal)
        os.setsid()
        fcntl.ioctl(s, termios.TIOCSCTTY, 0)
        settings = termios.tcgetattr(s)
        settings[3] |= termios.TOSTOP
        termios.tcsetattr(s, termios.TCSANOW, settings)
        process = start(s)
        status = os.waitpid(process.pid, os.WUNTRACED)[1]
        if os.WIFSTOPPED(status):
            process.kill()
            os.waitpid(process.pid, 0)
        os._exit(0 if status == 0 else 1)
    os.close(s)
    text = b""
    try:
        while b"ready:" not in text:
            text += os.read(terminal, 1000)
        os.kill(int(re.search(rb"shmallocd\[(\d+)\]", text).group(1)), signal.SIGTERM)
        while True:
            text += os.read(terminal, 1000)
    except OSError: # nobody has it open any more
        pass
    os.close(terminal)
    assert os.waitpid(leader, 0)[1] == 0, ("the terminal stops the daemon", text)

try_terminal()
END
echo "ok: a log that nobody reads"

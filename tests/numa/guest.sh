#!/bin/bash
# Boots a throw-away machine with several NUMA nodes and runs a program in it.
#
#   guest.sh [OPTION...] PROGRAM [ARGUMENT...]
#
#   --nodes N        nodes (default 2)
#   --cpuless K      the last K of them have memory but no CPUs, as CXL memory appears
#   --cpus N         CPUs, dealt over the nodes that have some (default: two for each)
#   --mem MIB        memory of each node (default 256)
#   --with PROGRAM   another program to take along, with the libraries that it needs; may be repeated
#   --file FILE      a file to take along as /FILE; may be repeated
#   --timeout S      for all of it (default 120)
#   --accel A        kvm, tcg (emulation), or auto: kvm if a boot proves within ten seconds that it works (default)
#   --time           tells on standard error how long what took
#
# Programs are at /bin/NAME in the guest.  What they write comes out here, and the exit status is PROGRAM's; 77 when no
# guest can be run on this machine, and 124 when it takes too long.
#
# Needed are Debian's packages qemu-system-x86 and busybox-static, and a kernel: /boot/vmlinuz-*-cloud-amd64 or
# whatever NUMA_KERNEL names, else the one in Debian's linux-image-cloud-amd64, which is downloaded and unpacked into
# the folder NUMA_CACHE (default: build/numa beside this source tree), not installed.
set -u

me=${0##*/}
here=$(cd "$(dirname "$0")/../.." && pwd)
cache=${NUMA_CACHE:-$here/build/numa}
nodes=2 cpuless=0 cpus=0 mem=256 limit=120 accel=${NUMA_ACCEL:-auto} times=0
programs=() files=()

skip() {
        echo "$me: skipped: $*" >&2
        exit 77
}

usage() {
        sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p}' "$0"
}

while [ $# -gt 0 ]; do
        case $1 in
        --nodes) nodes=$2 ;;
        --cpuless) cpuless=$2 ;;
        --cpus) cpus=$2 ;;
        --mem) mem=$2 ;;
        --with) programs+=("$2") ;;
        --file) files+=("$2") ;;
        --timeout) limit=$2 ;;
        --accel) accel=$2 ;;
        --time) times=1 && set -- x "$@" ;;
        -h | --help) usage && exit 0 ;;
        -*) echo "$me: $1: no such option (see --help)" >&2 && exit 2 ;;
        *) break ;;
        esac
        shift 2
done
[ $# -gt 0 ] || { usage >&2 && exit 2; }
program=$1
shift

# ------------------------------------------------------------------ what is needed

[ "$(uname -m)" = x86_64 ] || skip "guests are x86-64 ones, this machine is $(uname -m)"
command -v qemu-system-x86_64 >/dev/null || skip "there is no qemu-system-x86_64 (Debian: qemu-system-x86)"
busybox=$(command -v busybox) || skip "there is no busybox (Debian: busybox-static)"
ldd "$busybox" >/dev/null 2>&1 && skip "busybox is not a static one (Debian: busybox-static)"
mkdir -p "$cache" || skip "cannot make $cache"

find_kernel() {
        local found package folder
        if [ -n "${NUMA_KERNEL:-}" ]; then
                [ -r "$NUMA_KERNEL" ] && echo "$NUMA_KERNEL"
                return
        fi
        found=$(ls -1 /boot/vmlinuz-*-cloud-amd64 2>/dev/null | tail -n 1)
        [ -r "$found" ] && echo "$found" && return
        exec 9>"$cache/lock"
        flock 9
        if [ ! -s "$cache/vmlinuz" ]; then
                package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
                        awk '/Depends: linux-image-/ { print $2; exit }')
                folder=$(mktemp -d "$cache/kernel.XXXXXX")
                [ -n "$package" ] && (cd "$folder" && apt-get -q download "$package" >"$cache/download.log" 2>&1 &&
                        dpkg-deb --fsys-tarfile ./*.deb | tar -x --wildcards './boot/vmlinuz*' &&
                        mv boot/vmlinuz* "$cache/vmlinuz")
                rm -rf "$folder"
        fi
        flock -u 9
        [ -s "$cache/vmlinuz" ] && echo "$cache/vmlinuz"
}
kernel=$(find_kernel)
[ -n "$kernel" ] || skip "there is no kernel to boot, and Debian's linux-image-cloud-amd64 cannot be downloaded"

# ------------------------------------------------------------------ the file system of the guest

run=$(mktemp -d "${TMPDIR:-/tmp}/numa-guest.XXXXXX") || skip "no temporary folder"
qemu_pid=
cleanup() {
        [ -z "$qemu_pid" ] || kill -KILL "$qemu_pid" 2>/dev/null
        rm -rf "$run"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

root=$run/root
mkdir -p "$root"/{bin,dev,etc,proc,sys,tmp,root}
cp "$busybox" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"

add_program() {
        local path library
        [ "$1" != sh ] || return 0 # the guest's own
        path=$(command -v "$1") || { echo "$me: there is no program $1" >&2 && exit 2; }
        cp -L "$path" "$root/bin/"
        ldd "$path" 2>/dev/null | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) { sub(/:$/, "", $i); print $i } }' |
                while read -r library; do
                        [ -e "$root$library" ] || { mkdir -p "$root${library%/*}" && cp -L "$library" "$root$library"; }
                done
}
for name in "$program" "${programs[@]}"; do
        add_program "$name"
done
# glibc loads it when a thread is cancelled or calls pthread_exit().
libgcc=$(PATH=$PATH:/usr/sbin ldconfig -p 2>/dev/null | awk '/libgcc_s.so.1.*x86-64/ { print $NF; exit }')
[ ! -e "$libgcc" ] || { mkdir -p "$root${libgcc%/*}" && cp -L "$libgcc" "$root$libgcc"; }
for name in "${files[@]}"; do
        cp -L "$name" "$root/${name##*/}" || exit 2
done

quoted() {
        local word
        for word; do printf "'%s' " "${word//\'/\'\\\'\'}"; done
}
cat >"$root/init" <<END
#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777,size=100% shm /dev/shm
ln -s /proc/self/fd /dev/fd
chmod 1777 /tmp
ip link set lo up
for port in 1 2 3; do stty -F /dev/ttyS\$port raw -echo; done
echo "up \$(cut -d' ' -f1 /proc/uptime)" >/dev/ttyS3
$(quoted "${program##*/}" "$@") </dev/null >/dev/ttyS1 2>/dev/ttyS2
echo "status \$?" >/dev/ttyS3
poweroff -f
END
chmod 755 "$root/init"
(cd "$root" && find . -mindepth 1 | LC_ALL=C sort | "$busybox" cpio -o -H newc 2>/dev/null) >"$run/initrd"

# ------------------------------------------------------------------ the machine

with_cpus=$((nodes - cpuless))
[ "$cpus" -ge 2 ] || cpus=$((2 * with_cpus)) # emulation with one CPU makes no atomic instructions
machine=()
for ((n = 0; n < nodes; n++)); do
        machine+=(-object "memory-backend-ram,id=m$n,size=${mem}M")
        if [ $n -lt $with_cpus ]; then
                cpus_of_it="$((n * cpus / with_cpus))-$(((n + 1) * cpus / with_cpus - 1))"
                machine+=(-numa "node,nodeid=$n,memdev=m$n,cpus=$cpus_of_it")
        else
                machine+=(-numa "node,nodeid=$n,memdev=m$n")
        fi
done
for ((i = 0; i < nodes; i++)); do
        for ((j = i + 1; j < nodes; j++)); do
                machine+=(-numa "dist,src=$i,dst=$j,val=$([ $j -lt $with_cpus ] && echo $((20 + j - i)) || echo 31)")
        done
done

boot() { # boot ACCELERATION SECONDS, in the background
        local cpu=max
        [ "$1" = kvm ] && cpu=host
        : >"$run/out" && : >"$run/err" && : >"$run/status"
        timeout -k 5 "$2" qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -M pc -cpu $cpu \
                -accel "$1$([ "$1" = tcg ] && echo ,thread=multi)" -smp "$cpus" -m "$((nodes * mem))M" "${machine[@]}" \
                -kernel "$kernel" -initrd "$run/initrd" \
                -append "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check edd=off 8250.nr_uarts=4" \
                -serial "file:$run/console" -serial "file:$run/out" -serial "file:$run/err" \
                -serial "file:$run/status" </dev/null >"$run/qemu.log" 2>&1 &
        qemu_pid=$!
}

# A /dev/kvm that is there does not mean that a kernel boots with it: some nested ones never do.
kvm_works() {
        local verdict
        verdict=$cache/kvm.$(cat /proc/sys/kernel/random/boot_id)
        if [ ! -s "$verdict" ]; then
                local answer=no
                if [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
                        cp "$root/init" "$run/init" && mv "$run/initrd" "$run/initrd.kept"
                        printf '%s\n' '#!/bin/sh' '/bin/busybox mount -t devtmpfs dev /dev' 'echo up >/dev/ttyS3' \
                                '/bin/busybox poweroff -f' >"$root/init"
                        (cd "$root" && printf '%s\n' bin bin/busybox bin/sh dev init |
                                "$busybox" cpio -o -H newc 2>/dev/null) >"$run/initrd"
                        boot kvm 10
                        wait "$qemu_pid" 2>/dev/null # it may abort
                        qemu_pid=
                        grep -aq '^up' "$run/status" && answer=yes
                        mv "$run/init" "$root/init" && mv "$run/initrd.kept" "$run/initrd"
                fi
                echo $answer >"$verdict"
        fi
        [ "$(cat "$verdict")" = yes ]
}

start=$(date +%s%N)
if [ "$accel" = auto ]; then
        accel=tcg
        kvm_works && accel=kvm
fi
booted=$(date +%s%N)
boot "$accel" "$limit"
tail -q -c +1 -s 0.1 --pid="$qemu_pid" -f "$run/out" &
tail -q -c +1 -s 0.1 --pid="$qemu_pid" -f "$run/err" >&2 &
wait "$qemu_pid" 2>/dev/null
qemu_status=$?
qemu_pid=
wait
[ $times = 0 ] || echo "$me: $nodes nodes, $accel, probe $(((booted - start) / 1000000)) ms," \
        "guest $((($(date +%s%N) - booted) / 1000000)) ms" >&2

status=$(sed -n 's/^status //p' "$run/status" | tr -dc 0-9)
if [ -z "$status" ]; then
        cat "$run/qemu.log" >&2
        tail -n 30 "$run/console" >&2
        [ $qemu_status -eq 124 ] || [ $qemu_status -eq 137 ] && echo "$me: not done after $limit s" >&2 && exit 124
        echo "$me: the guest ended without saying how (qemu: $qemu_status)" >&2
        exit 125
fi
exit "$status"

#!/bin/sh
# What is installed can be used: by pkg-config from C and C++, linked shared and static, and by find_package; and the
# installed tree can be moved.  Components are parts of it, and uninstalled, nothing is left.
#
#   consumer.sh BUILD_DIR
set -eu
build=$1
here=$(cd "$(dirname "$0")" && pwd)
cc=${CC:-cc}
cxx=${CXX:-c++}
cmake=${CMAKE:-cmake}

tmp=$(mktemp -d)
# The lists of what was installed are the build folder's user's, who may want to uninstall it.
clean() {
        rm -f "$build"/install_manifest*.txt
        cp "$tmp"/kept/* "$build" 2>"$tmp/log" || true # there may be none
        rm -rf "$tmp"
}
mkdir "$tmp/kept"
for file in "$build"/install_manifest*.txt; do
        [ ! -f "$file" ] || cp "$file" "$tmp/kept"
done
trap clean EXIT
trap 'exit 1' HUP INT TERM

log() {
        if ! "$@" >"$tmp/log" 2>&1; then
                echo "failed: $*"
                cat "$tmp/log"
                exit 1
        fi
}

run() {
        if ! "$@"; then
                echo "failed: $*"
                exit 1
        fi
        echo "ok: ${1#"$tmp"/}"
}

log "$cmake" --install "$build" --prefix "$tmp/first"
mv "$tmp/first" "$tmp/prefix"
libdir=$tmp/prefix/${LIBDIR:-lib}
PKG_CONFIG_PATH=$libdir/pkgconfig
export PKG_CONFIG_PATH

# Alone: nobody needs the files of libraries that only this one uses, to link to it statically neither.
for options in --cflags --libs "--cflags --libs --static"; do
        # The options are words.
        # shellcheck disable=SC2086
        log env PKG_CONFIG_PATH= PKG_CONFIG_LIBDIR="$PKG_CONFIG_PATH" pkg-config --print-errors $options shmalloc
done
cflags=$(pkg-config --cflags shmalloc)
libs=$(pkg-config --libs shmalloc)
static_libs=$(pkg-config --libs --static shmalloc | sed 's/-lshmalloc/-l:libshmalloc.a/')
version=$(pkg-config --modversion shmalloc)
echo "shmalloc $version: $cflags $libs"

# The flags are meant to be split into words.
# shellcheck disable=SC2086
{
        log "$cc" -std=c11 -D_XOPEN_SOURCE=700 -Wall -Wextra -Werror $cflags -o "$tmp/c" "$here/consumer.c" \
                $libs -Wl,-rpath,"$libdir"
        log "$cc" -std=c11 -D_XOPEN_SOURCE=700 $cflags -o "$tmp/c-static" "$here/consumer.c" $static_libs
        log "$cxx" -x c++ -std=c++17 -Wall -Wextra -Werror $cflags -o "$tmp/c++" "$here/consumer.c" \
                -x none $libs -Wl,-rpath,"$libdir"
        log "$cxx" -std=c++17 -Wall -Wextra -Werror $cflags -o "$tmp/hpp" "$here/consumer.cpp" $libs \
                -Wl,-rpath,"$libdir"
}
run "$tmp/c"
run "$tmp/c-static"
run "$tmp/c++"
run "$tmp/hpp"

log "$cmake" -S "$here" -B "$tmp/cmake" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$tmp/prefix"
log "$cmake" --build "$tmp/cmake"
run "$tmp/cmake/consumer"
run "$tmp/cmake/consumer_static"

# The components, all of them, are the whole; and the runtime is the library that programs load.
list() {
        (cd "$1" && find . -type f -o -type l) | LC_ALL=C sort
}
for component in runtime devel tools daemon doc; do
        log "$cmake" --install "$build" --prefix "$tmp/parts" --component $component
        [ $component != runtime ] || list "$tmp/parts" >"$tmp/runtime"
done
list "$tmp/prefix" | sed "s,$tmp/first/,$tmp/parts/," >"$tmp/whole"
list "$tmp/parts" >"$tmp/all"
log diff "$tmp/whole" "$tmp/all"
if ! grep -q 'libshmalloc\.so\.' "$tmp/runtime" || grep -v '/libshmalloc\.so\.[0-9.]*$' "$tmp/runtime" >"$tmp/log"; then
        echo "failed: the component runtime is not the shared library alone"
        cat "$tmp/runtime"
        exit 1
fi
echo "ok: components"

# The target "uninstall", of the last installation alone.
mkdir "$tmp/lists"
log "$cmake" --install "$build" --prefix "$tmp/last"
cp "$build/install_manifest.txt" "$tmp/lists"
echo "#mine" >>"$tmp/last/etc/shmalloc/shmallocd.conf" 2>"$tmp/log" || true
log "$cmake" -DBUILD="$tmp/lists" -DSOURCE="$here/../.." -P "$here/../../cmake/uninstall.cmake"
list "$tmp/last" | grep -v '^\./etc/shmalloc/shmallocd\.conf$' >"$tmp/log" || true
find "$tmp/last" -depth -type d -name 'shmalloc' -not -path '*/etc/*' >>"$tmp/log"
if [ -s "$tmp/log" ] || { [ -e "$tmp/prefix/etc" ] && [ ! -s "$tmp/last/etc/shmalloc/shmallocd.conf" ]; }; then
        echo "failed: uninstalled, other files are left than the configuration, which was changed:"
        cat "$tmp/log"
        exit 1
fi
echo "ok: uninstalled"

# The tools, where they are built: their units, pages and completion, all below the prefix.
[ -e "$tmp/prefix/bin/shmallocctl" ] || exit 0
for file in sbin/shmallocd lib/systemd/system/shmallocd.service lib/systemd/system/shmallocd.socket \
        lib/tmpfiles.d/shmalloc.conf etc/shmalloc/shmallocd.conf share/bash-completion/completions/shmallocctl \
        share/zsh/site-functions/_shmallocctl share/fish/vendor_completions.d/shmallocctl.fish \
        share/shmalloc/grafana/shmalloc.json \
        share/man/man1/shmallocctl.1 share/man/man3/shmalloc.3 share/man/man5/shmallocd.conf.5 \
        share/man/man7/shmalloc.7 share/man/man8/shmallocd.8; do
        if [ ! -s "$tmp/prefix/$file" ]; then
                echo "failed: $file is not installed"
                exit 1
        fi
done
log "$tmp/prefix/bin/shmallocctl" --version
log "$tmp/prefix/sbin/shmallocd" --config="$tmp/prefix/etc/shmalloc/shmallocd.conf" --check-config
# It finds that file by itself, though all has been moved.
log "$tmp/prefix/sbin/shmallocd" --check-config
# The example in it is one that can be used.
sed -n 's/^#\(\[example\]\|[a-z_]* = .*\)$/\1/p' "$tmp/prefix/etc/shmalloc/shmallocd.conf" |
        sed 's/= www-data$/= '"$(id -u)"'/; /^group/d' >"$tmp/example.conf"
log "$tmp/prefix/sbin/shmallocd" --config="$tmp/example.conf" --check-config
log grep -F "ExecStart=$tmp/first/sbin/shmallocd --config=$tmp/first/etc/shmalloc/shmallocd.conf" \
        "$tmp/prefix/lib/systemd/system/shmallocd.service"
# The words of bash are between the quotes.
# shellcheck disable=SC2016
log bash -c 'source "$1" && COMP_WORDS=(shmallocctl st) COMP_CWORD=1 && _shmallocctl && [ "${COMPREPLY[*]}" = stat ]' \
        bash "$tmp/prefix/share/bash-completion/completions/shmallocctl"
echo "ok: daemon and tool"

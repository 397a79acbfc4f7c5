# What ./demo.sh and ./test.sh share: the missing packages are installed and build/ is built.  Sourced with the current
# folder at the top of the source tree.  Without tests, what only they need is neither installed nor built.
# shellcheck shell=sh

packages_file=cmake/packages.txt
build=build

if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && [ -z "${NO_COLOR:-}" ]; then
        bold=$(printf '\033[1m') red=$(printf '\033[31m') green=$(printf '\033[32m') plain=$(printf '\033[0m')
else
        # Some of these are for those who source this file.
        # shellcheck disable=SC2034
        bold='' red='' green='' plain=''
fi

say() {
        printf '%s%s%s\n' "$bold" "$*" "$plain"
}

die() {
        printf '%s%s: %s%s\n' "$red" "$(basename "$0")" "$*" "$plain" >&2
        exit 2
}

# missing_packages SECTION...: the packages of these sections of the list that are not installed, on one line.
missing_packages() {
        awk -v sections=" $* " '/^# To / { is_wanted = index(sections, " " substr($3, 1, length($3) - 1) " ") }
                /^[^#]/ && is_wanted' "$packages_file" | while read -r package; do
                [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null)" = "ii " ] ||
                        printf '%s ' "$package"
        done
}

# install_packages SECTION...
install_packages() {
        if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
                command -v cmake >/dev/null ||
                        die "this is no Debian; install what corresponds to $packages_file, then try again"
                say "Not a Debian system: what $packages_file names is taken as installed"
                return
        fi
        missing=$(missing_packages "$@")
        [ -n "$missing" ] || return 0

        as_root=
        if [ "$(id -u)" -ne 0 ]; then
                command -v sudo >/dev/null ||
                        die "these packages are missing, and installing them needs root or sudo: $missing"
                as_root=sudo
        fi
        say "Installing: $missing"
        # The package names are words, and so is an empty $as_root none.
        # shellcheck disable=SC2086
        apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o APT::Color=0"
        log=$(mktemp)
        # shellcheck disable=SC2086
        if ! { $apt update && $apt install -y --no-install-recommends $missing; } >"$log" 2>&1; then
                tail -n 15 "$log" >&2
                rm -f "$log"
                die "could not install (is there a network, and an archive of Debian in /etc/apt?): $missing"
        fi
        rm -f "$log"
        missing=$(missing_packages "$@")
        [ -z "$missing" ] || die "still missing after installation: $missing"
}

# build ON|OFF: configures build/ with or without tests, and builds with all cores; says something only if that fails.
# With tests everything is built, and warnings are errors; without them what is installed and what the demonstration
# runs.
build() {
        mkdir -p "$build" 2>/dev/null || die "cannot write to $(pwd)/$build"
        if [ -f "$build/CMakeCache.txt" ] &&
                ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$(pwd)" "$build/CMakeCache.txt"; then
                die "$(pwd)/$build was configured for another folder; remove it and try again"
        fi
        generator='-G Ninja'
        [ ! -f "$build/CMakeCache.txt" ] || generator= # it knows its own
        is_configured=no
        if [ -z "$generator" ] && { [ -f "$build/build.ninja" ] || [ -f "$build/Makefile" ]; }; then
                is_configured=yes
                [ "$1" = OFF ] || grep -qx 'SHMALLOC_TESTS:BOOL=ON' "$build/CMakeCache.txt" || is_configured=no
        fi
        if [ $is_configured = no ]; then
                say "Configuring $build/"
                # The option and its value are two words.
                # shellcheck disable=SC2086
                cmake $generator -S . -B "$build" -D "SHMALLOC_TESTS=$1" -D "SHMALLOC_WERROR=$1" \
                        >"$build/configure.log" 2>&1 || {
                        cat "$build/configure.log" >&2
                        rm -f "$build/CMakeCache.txt"
                        die "cannot configure $build/"
                }
        fi
        say "Building $build/"
        targets=all
        [ "$1" = ON ] || targets='installed wordindex'
        # shellcheck disable=SC2086
        if ! cmake --build "$build" --parallel "$(nproc)" --target $targets >"$build/build.log" 2>&1; then
                grep -v '^\[[0-9]*/[0-9]*\] [A-Z][a-z]*ing ' "$build/build.log" | tail -n 60 >&2
                die "the build failed; all of it is in $build/build.log"
        fi
}

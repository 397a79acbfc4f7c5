#!/bin/sh
# Where the daemon looks for its configuration when none is named: below the prefix that it is installed in, which may
# have been moved; in /etc where it is not installed, or in /usr.
. "$(dirname "$0")/common.sh"

# install_in PREFIX HEAP   the daemon, with a configuration of a heap of that name
install_in() {
        mkdir -p "$1/sbin" "$1/etc/shmalloc"
        cp "$daemon" "$1/sbin/shmallocd"
        printf '[%s]\ncapacity = none-of-%s\n' "$2" "$2" >"$1/etc/shmalloc/shmallocd.conf"
}
# reads PREFIX FILE   the daemon there reads that file
reads() {
        "$1/sbin/shmallocd" --help | tr -s ' \n' ' ' >"$tmp/help"
        grep -qF -- "--config=FILE Default: $2 " "$tmp/help" || fail "$1: the help does not name $2"
        expect 2 "$1/sbin/shmallocd" --check-config
        says err "$2"
}

install_in "$tmp/first" one
reads "$tmp/first" "$tmp/first/etc/shmalloc/shmallocd.conf"
says err 'shmallocd.conf:2: "none-of-one" is no capacity'
mv "$tmp/first" "$tmp/second"
reads "$tmp/second" "$tmp/second/etc/shmalloc/shmallocd.conf"
# What is named counts.
printf '[two]\n' >"$tmp/named.conf"
expect 0 "$tmp/second/sbin/shmallocd" --check-config --config="$tmp/named.conf"
says out "1 heap, valid"
printf '[two]\n[three]\n' >"$tmp/named.conf"
expect 0 "$tmp/second/sbin/shmallocd" --check-config --config="$tmp/named.conf"
says out "2 heaps, all valid"
# Nothing there is an error, and no reason to look elsewhere.
rm "$tmp/second/etc/shmalloc/shmallocd.conf"
reads "$tmp/second" "$tmp/second/etc/shmalloc/shmallocd.conf"
# Not installed: a folder that has another name.
mv "$tmp/second/sbin" "$tmp/second/mysbin"
"$tmp/second/mysbin/shmallocd" --help | tr -s ' \n' ' ' >"$tmp/help"
grep -qF -- "--config=FILE Default: /etc/shmalloc/shmallocd.conf " "$tmp/help" || fail "it looks elsewhere than in /etc"

# In /usr, which is another one here.
if mkdir -p "$tmp/usr/sbin" && cp "$daemon" "$tmp/usr/sbin/" && unshare -m true 2>/dev/null; then
        # The words of the inner shell are between the quotes.
        # shellcheck disable=SC2016
        expect 0 unshare -m sh -c 'mount --bind "$1/sbin" /usr/sbin && /usr/sbin/shmallocd --help' sh "$tmp/usr"
        tr -s ' \n' ' ' <"$tmp/out" >"$tmp/help"
        grep -qF -- "--config=FILE Default: /etc/shmalloc/shmallocd.conf " "$tmp/help" || fail "of /usr, it is not /etc"
else
        echo "skipped: another /usr needs the right to mount"
fi
echo "ok: where the configuration is"

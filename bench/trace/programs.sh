#!/bin/sh
# programs.sh RECORDER DIR - traces of a few programs that a Debian has or may have, each at work on the sources of this
# project and what is made of them.  Those that are not installed are left out; traces that are there stay.
set -eu
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
recorder=${1:?usage: programs.sh RECORDER DIR}
dir=${2:?usage: programs.sh RECORDER DIR}
mkdir -p "$dir"

# wanted TRACE PROGRAM   whether it is still to be made, and can be
wanted() {
        [ ! -f "$dir/$1.trace" ] && [ ! -f "$dir/$1.trace.zst" ] && [ -n "$(command -v "$2")" ]
}

# record NAME COMMAND...   of the program of this name
record() {
        name=$1
        shift
        "$top/bench/record.sh" --library "$recorder" --out "$dir" --only "$name" -- "$@" >/dev/null 2>"$work/said" || {
                cat "$work/said" >&2
                echo "no trace of $name" >&2
        }
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# About a megabyte of text, and records of its lines: a file, a line number, words.
find "$top/lib" "$top/include" "$top/doc" -name '*.[chm]*' -type f | sort | xargs cat >"$work/all"
head -c 1000000 "$work/all" >"$work/text"
awk '
BEGIN { print "[" }
NF > 3 {
        gsub(/[\\"\t]/, " ")
        gsub(/[^ -~]/, "?")
        printf "%s{\"line\":%d,\"first\":\"%s\",\"words\":%d,\"text\":\"%s\"}\n", n++ ? "," : "", FNR,
                substr($1, 1, 1), NF, $0
}
END { print "]" }' "$work/text" >"$work/records.json"

for awk in gawk mawk; do
        ! wanted $awk $awk || record $awk $awk '
                { for (i = 1; i <= NF; i++) { count[$i]++; where[$i] = where[$i] " " FNR } line[FNR] = $0 }
                END {
                        for (word in count)
                                if (count[word] > 1)
                                        longest = length(where[word]) > length(longest) ? where[word] : longest
                        for (i = FNR; i > 0; i--) { n = split(line[i], part, /[^a-z]+/); total += n }
                        print total, longest
                }' "$work/text"
done

! wanted perl perl || record perl perl -ne '
        push @lines, $_;
        for (split /\W+/) { $count{lc $_}++; push @{$where{$_}}, $.; }
        END {
                for (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count) {
                        print "$_: $count{$_}, ", join(" ", @{$where{$_} || []}), "\n";
                }
                print sort { lc $a cmp lc $b } @lines;
        }' "$work/text"

# Its own allocator would ask malloc for whole arenas only.
! wanted python3 python3 || record python3 env PYTHONMALLOC=malloc python3 -S -c '
import collections, json, re, sys
records = json.load(open(sys.argv[1]))
groups = collections.defaultdict(list)
for r in records:
    groups[r["first"]].append(r)
words = collections.Counter(w for r in records for w in re.findall(r"\w+", r["text"]))
out = {k: sorted(v, key=lambda r: (r["words"], r["text"])) for k, v in groups.items()}
print(json.dumps(out), words.most_common(1000))' "$work/records.json"

! wanted jq jq || record jq jq -c 'group_by(.first) | map({first: .[0].first, n: length, words: (map(.words) | add),
        longest: (max_by(.words) | .text)})' "$work/records.json"

cat >"$work/mixed.sql" <<'END'
create table item(id integer primary key, kind integer, name text, size real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
        insert into item select i, i % 97, 'item-' || (i * 7919 % 20011) || '-' || hex(i), i * 0.5 from n;
create index by_name on item(name);
select kind, count(*), avg(size), group_concat(substr(name, 1, 9)) from item group by kind;
update item set name = name || '-changed', size = size + 1 where kind % 3 = 0;
delete from item where kind % 5 = 0;
select a.name, b.name from item a join item b on a.id = b.id + 1 where a.kind > 90 order by a.name desc;
END
! wanted sqlite3 sqlite3 || record sqlite3 sqlite3 :memory: <"$work/mixed.sql"

# The compiler itself, which is started by cc.
! wanted cc1 gcc || record cc1 gcc -O2 -c -D_GNU_SOURCE -I "$top/lib" -I "$top/include" -o "$work/out.o" \
        "$top/lib/audit/check.c"

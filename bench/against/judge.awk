# Judges what against prints: awk -F, -f judge.awk FIGURES.  A line ROW,KIND,METRIC,BUILD,VALUE,WHAT per figure, BUILD
# ours or theirs; the values of a row and a metric come in pairs, as they were measured.
# Instructions are medians of what was counted.  Times are compared in pairs: what is bound is the median of the ratios,
# since what slows a machine down slows down both of a pair.  Exits with 1 if a row is beyond a bound, 2 if figures are
# missing.

BEGIN {
        HIT_MORE = 0.1    # instructions: less than one in ten pairs is not in every pair
        SLOW_RATIO = 1.03 # instructions
        TIME_RATIO = 1.05
}

function number_of(row, metric, build) { return n[row, metric, build] + 0 }

# Of count values v[1..count].
function median(v, count,    i, j, x) {
        for (i = 2; i <= count; i++) {
                x = v[i]
                for (j = i - 1; j >= 1 && v[j] > x; j--)
                        v[j + 1] = v[j]
                v[j + 1] = x
        }
        return count % 2 ? v[(count + 1) / 2] : (v[count / 2] + v[count / 2 + 1]) / 2
}

function median_of(row, metric, build,    v, i, count) {
        count = number_of(row, metric, build)
        for (i = 1; i <= count; i++)
                v[i] = value[row, metric, build, i]
        return median(v, count)
}

function median_ratio(row, metric,    v, i, count) {
        count = number_of(row, metric, "ours")
        for (i = 1; i <= count; i++)
                v[i] = value[row, metric, "ours", i] / value[row, metric, "theirs", i]
        return median(v, count)
}

NF >= 5 {
        if (!($1 in kind)) {
                kind[$1] = $2
                what[$1] = $6
                for (i = 7; i <= NF; i++)
                        what[$1] = what[$1] "," $i
                rows[++n_rows] = $1
        }
        if ($5 + 0 <= 0) {
                print "judge.awk: no figure: " $0 >"/dev/stderr"
                broken = 1
        }
        value[$1, $3, $4, ++n[$1, $3, $4]] = $5 + 0
}

function complete(row, metric,    count) {
        count = number_of(row, metric, "ours")
        return count > 0 && count == number_of(row, metric, "theirs")
}

function beyond(row, text) {
        faults[++n_faults] = row ": " text
        return " **"
}

END {
        if (n_rows == 0 || broken) {
                print "judge.awk: figures are missing" >"/dev/stderr"
                exit 2
        }
        print "| row | instructions, theirs | ours | | ns, theirs | ours | | what |"
        print "|---|---:|---:|---:|---:|---:|---:|---|"
        for (k = 1; k <= n_rows; k++) {
                row = rows[k]
                if (!complete(row, "instructions") || !complete(row, "time")) {
                        print "judge.awk: figures of " row " are missing" >"/dev/stderr"
                        exit 2
                }
                a = median_of(row, "instructions", "ours")
                b = median_of(row, "instructions", "theirs")
                ratio = median_ratio(row, "time")
                mark1 = mark2 = ""
                if (kind[row] == "hit" && a > b + HIT_MORE)
                        mark1 = beyond(row, sprintf("%.1f instructions, not %.1f: a hit may have none more", a, b))
                if (kind[row] != "hit" && a > b * SLOW_RATIO)
                        mark1 = beyond(row, sprintf("%.1f %% more instructions; 3 %% may be", (a / b - 1) * 100))
                if (ratio > TIME_RATIO)
                        mark2 = beyond(row, sprintf("%.1f %% more time; 5 %% may be", (ratio - 1) * 100))
                printf "| %s | %.1f | %.1f | %+.1f %%%s |", row, b, a, (a / b - 1) * 100, mark1
                printf " %.1f | %.1f | %+.1f %%%s | %s |\n", median_of(row, "time", "theirs"),
                        median_of(row, "time", "ours"), (ratio - 1) * 100, mark2, what[row]
        }
        print ""
        if (n_faults == 0) {
                print "Equal: no row is beyond a bound."
                exit 0
        }
        print "Beyond a bound:"
        for (k = 1; k <= n_faults; k++)
                print "* " faults[k]
        exit 1
}

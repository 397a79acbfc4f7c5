# What results.csv comes to, a line for each row: awk -f noise.awk -f summary.awk results.csv
#
# A row is a case of which another allocator has a figure, too.  "First" and the like are said of net figures, and of
# the whole where there is no driver in them.  Not told apart are net figures that are within the noise of the driver,
# or differ by no more than that.

{
        read_figure()
}

# Single calls' latencies, and what says the same again, are in the tables.
function is_row(key,    part) {
        split(key, part, ",")
        return part[3] ~ /^(time|first|instructions|memory|resident|resident_10%|late|live_share)$/ && part[1] != "sift"
}

# Where more is better, the other way round: so that a ratio above 1 is what is lost.
function result_of(key, ours, other,    noise) {
        if (kind[key] == "more")
                return ours >= other ? "first" : 1.05 * ours >= other ? "within 5 %" : sprintf("lost (%.2f times)",
                        ratio(other, ours))
        noise = kind[key] == "time" ? noise_of(key) : 0
        if (noise > 0 && ours <= noise)
                return "not told apart"
        if (ours <= other)
                return "first"
        if (noise > 0 && other <= noise)
                return ours - other <= noise ? "not told apart" : sprintf("lost (more than %.2f times)", ours / noise)
        if (ours <= 1.05 * other)
                return "within 5 %"
        return ours - other <= noise ? "not told apart" : sprintf("lost (%.2f times)", ours / other)
}

function ratio(a, b) {
        return b > 0 ? sprintf("%.2f", a / b) : "-"
}

END {
        print "| row | shmalloc | best of the others | ratio | ratio of the whole | |"
        print "|---|---:|---:|---:|---:|---|"
        for (i = 1; i <= n_rows; i++) {
                key = row[i]
                if (!is_row(key) || !((key, "shmalloc", "net") in value) || (best = best_of(key, "net", "")) == "")
                        continue
                ours = value[key, "shmalloc", "net"] + 0
                other = value[key, best, "net"] + 0
                result = result_of(key, ours, other)
                is_vague = result ~ /^not told/ || kind[key] == "time" && other <= noise_of(key)
                split(key, part, ",")
                printf "| %s %s%s | %.4g %s | %.4g (%s) | %s | %s | %s |\n", part[1], part[2],
                        part[3] == "time" ? "" : ", " part[3], ours, unit[key], other, best,
                        is_vague ? "-" : kind[key] == "more" ? ratio(other, ours) : ratio(ours, other),
                        kind[key] != "time" ? "" : ratio(value[key, "shmalloc", "median"], value[key, best, "median"]),
                        result ~ /^lost/ ? "**" result "**" : result
                sub(/ \(.*/, "", result)
                count[result]++
                n++
        }
        printf "\n%d rows: %d first, %d within 5 %%, %d lost, %d not told apart.\n", n, count["first"],
                count["within 5 %"], count["lost"], count["not told apart"]
}

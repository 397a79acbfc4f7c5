# Judges results.csv by targets.txt: awk -f targets.awk targets.txt results.csv

FNR == NR {
        if ($0 ~ /^#/ || NF == 0)
                next
        n++
        question[n] = $1; name[n] = $2; metric[n] = $3; column[n] = $4; rule[n] = $5; bound[n] = $6
        text[n] = $7
        for (i = 8; i <= NF; i++)
                text[n] = text[n] " " $i
        next
}

{
        split($0, f, ",")
        key = f[1] "," f[2] "," f[3]
        value[key, f[5], "median"] = f[7]
        value[key, f[5], "net"] = f[8]
        group[f[5]] = f[6]
}

# The best private allocator's figure; its name goes to `who`.
function best_private(key, col,    a, b) {
        b = ""
        for (a in group)
                if (group[a] == "private" && (key, a, col) in value && (b == "" || value[key, a, col] + 0 < b + 0)) {
                        b = value[key, a, col]
                        who = a
                }
        return b
}

function say(i, ours, against, ratio, is_met) {
        printf "| %s | %s | %s | %s | %s | %s |\n", text[i], ours, against, ratio, limit, is_met ? "met" : "**missed**"
        if (is_met)
                n_met++
        else
                n_missed++
}

END {
        print "| target | shmalloc | against | ratio | bound | |"
        print "|---|---:|---:|---:|---:|---|"
        for (i = 1; i <= n; i++) {
                key = question[i] "," name[i] "," metric[i]
                col = column[i]
                if (!((key, "shmalloc", col) in value))
                        continue
                ours = value[key, "shmalloc", col]
                if (rule[i] == "at-most") {
                        limit = "at most " bound[i]
                        say(i, sprintf("%.4g", ours), "", "", ours + 0 <= bound[i] + 0)
                } else if (rule[i] == "best") {
                        b = best_private(key, col)
                        if (b == "")
                                continue
                        limit = "at most " bound[i]
                        if (b + 0 <= 0 || ours + 0 <= 0) # lost in the driver's own noise
                                say(i, sprintf("%.4g", ours), sprintf("%.4g (%s)", b, who), "-",
                                    ours + 0 <= b * bound[i])
                        else
                                say(i, sprintf("%.4g", ours), sprintf("%.4g (%s)", b, who), sprintf("%.2f", ours / b),
                                    ours / b <= bound[i] + 0)
                } else if (rule[i] == "ahead") {
                        limit = "at least " bound[i]
                        for (a in group)
                                if (group[a] == "shared" && (key, a, col) in value && ours + 0 > 0)
                                        say(i, sprintf("%.4g", ours), sprintf("%.4g (%s)", value[key, a, col], a),
                                            sprintf("%.1f", value[key, a, col] / ours),
                                            value[key, a, col] / ours >= bound[i] + 0)
                } else {
                        split(rule[i], part, ":")
                        other = value[question[i] "," part[2] "," metric[i], "shmalloc", col]
                        if (other + 0 <= 0)
                                continue
                        limit = (part[1] == "of" ? "at most " : "at least ") bound[i]
                        say(i, sprintf("%.4g", ours), sprintf("%.4g (case %s)", other, part[2]),
                            sprintf("%.2f", ours / other),
                            part[1] == "of" ? ours / other <= bound[i] + 0 : ours / other >= bound[i] + 0)
                }
        }
        printf "\n%d met, %d missed.\n", n_met, n_missed
}

# Judges results.csv by targets.txt: awk -f noise.awk -f targets.awk targets.txt results.csv

BEGIN {
        between = "within the bound"
}

FNR == NR {
        if ($0 ~ /^#/ || NF == 0)
                next
        n++
        question[n] = $1; name[n] = $2; metric[n] = $3; column[n] = $4; rule[n] = $5
        n_limits = split($6, part, "/")
        goal[n] = part[1]
        bound[n] = part[n_limits]
        text[n] = $7
        for (i = 8; i <= NF; i++)
                text[n] = text[n] " " $i
        next
}

{
        read_figure()
}

# What all ends in: a line of the table.  `whole` is the ratio of figures with the driver in them.
function say(i, ours, against, ratio, whole, goals, verdict) {
        printf "| %s | %s | %s | %s | %s | %s | %s |\n", text[i], ours, against, ratio, whole, goals,
                verdict == "missed" ? "**missed**" : verdict
        count[verdict]++
}

function quotient(a, b) {
        return b + 0 > 0 ? sprintf("%.2f", a / b) : "-"
}

# The verdict of a ratio of ours to another's that may be so much at most.  Of net figures within the driver's noise it
# is known only that they are small: so a ratio is known to be too large where it is even with all the noise in the
# other one, and is never known to be small enough.
function ratio_verdict(key, col, ours, other, most,    noise) {
        noise = col == "net" ? noise_of(key) : 0
        if (col == "net" && other + 0 <= noise)
                return ours + 0 > noise * most && ours + 0 > noise ? "missed" : "not told apart"
        if (col == "net" && ours + 0 <= noise)
                return "not told apart"
        return ours <= other * most ? "met" : "missed"
}

# What may be so much at most, against the goal and, where that is missed, the bound.
function verdict_of(i, key, col, ours, other,    verdict) {
        verdict = ratio_verdict(key, col, ours, other, goal[i])
        if (verdict == "missed")
                verdict = ratio_verdict(key, col, ours, other, bound[i])
        else
                return verdict
        return verdict == "met" ? between : verdict
}

function verdict_most(i, value) {
        return value <= goal[i] + 0 ? "met" : value <= bound[i] + 0 ? between : "missed"
}

function verdict_least(i, value) {
        return value >= goal[i] + 0 ? "met" : value >= bound[i] + 0 ? between : "missed"
}

function limit(i, word) {
        return goal[i] == bound[i] ? word " " goal[i] : word " " goal[i] ", bound " bound[i]
}

function judge_ratio(i, key, col, other,    ours, against) {
        ours = value[key, "shmalloc", col]
        against = value[key, other, col]
        say(i, sprintf("%.4g", ours), sprintf("%.4g (%s)", against, other),
            col == "net" && (ours + 0 <= noise_of(key) || against + 0 <= noise_of(key)) ? "-" : quotient(ours, against),
            quotient(value[key, "shmalloc", "median"], value[key, other, "median"]), limit(i, "at most"),
            verdict_of(i, key, col, ours, against))
}

# At least so many times as fast.
function judge_ahead(i, key, col, other,    ours, against, is_noise) {
        ours = value[key, "shmalloc", col]
        against = value[key, other, col]
        is_noise = col == "net" && ours + 0 <= noise_of(key)
        say(i, sprintf("%.4g", ours), sprintf("%.4g (%s)", against, other), is_noise ? "-" : quotient(against, ours),
            quotient(value[key, other, "median"], value[key, "shmalloc", "median"]), limit(i, "at least"),
            is_noise ? "not told apart" : ours + 0 > 0 ? verdict_least(i, against / ours) : "met")
}

# All cases of the question: the geometric mean of the ratios to the best of each.
function judge_mean(i, col,    c, key, best, sum, n_cases) {
        for (c = 1; c <= n_of[question[i]]; c++) {
                key = question[i] "," case_of[question[i], c] "," metric[i]
                best = best_of(key, col, "private")
                if (best == "" || !((key, "shmalloc", col) in value) || value[key, best, col] + 0 <= 0 ||
                    value[key, "shmalloc", col] + 0 <= 0)
                        continue
                sum += log(value[key, "shmalloc", col] / value[key, best, col])
                n_cases++
        }
        if (n_cases)
                say(i, "", n_cases " cases", sprintf("%.2f", exp(sum / n_cases)), "", limit(i, "at most"),
                    verdict_most(i, exp(sum / n_cases)))
}

# Against our own figure in another case.
function judge_of(i, ours, which, is_most,    other) {
        other = value[question[i] "," which "," metric[i], "shmalloc", column[i]]
        if (other + 0 > 0)
                say(i, sprintf("%.4g", ours), sprintf("%.4g (case %s)", other, which), quotient(ours, other), "",
                    limit(i, is_most ? "at most" : "at least"),
                    is_most ? verdict_most(i, ours / other) : verdict_least(i, ours / other))
}

function judge(i, which,    key, col, ours, other, part, a, verdict) {
        key = question[i] "," which "," metric[i]
        col = column[i]
        split(rule[i], part, ":")
        if (!((key, "shmalloc", col) in value))
                return
        ours = value[key, "shmalloc", col]
        if (part[1] == "at-most" || part[1] == "at-least") {
                verdict = part[1] == "at-most" ? verdict_most(i, ours) : verdict_least(i, ours)
                if (verdict == "met" && col == "net" && ours + 0 <= noise_of(key))
                        verdict = "not told apart"
                say(i, sprintf("%.4g", ours), "", "", "", limit(i, part[1] == "at-most" ? "at most" : "at least"),
                    verdict)
        } else if (part[1] == "best" || part[1] == "than") {
                other = part[1] == "than" ? part[2] : best_of(key, col, "private")
                if (other != "" && (key, other, col) in value)
                        judge_ratio(i, key, col, other)
        } else if (part[1] == "ahead") {
                for (a = 1; a <= n_allocators; a++)
                        if (group[allocator[a]] == "shared" && (key, allocator[a], col) in value)
                                judge_ahead(i, key, col, allocator[a])
        } else {
                judge_of(i, ours, part[2], part[1] == "of")
        }
}

END {
        print "| target | shmalloc | against | ratio | ratio of the whole | goal | |"
        print "|---|---:|---:|---:|---:|---:|---|"
        for (i = 1; i <= n; i++) {
                if (rule[i] == "mean")
                        judge_mean(i, column[i])
                else if (name[i] != "*")
                        judge(i, name[i])
                else {
                        all = text[i]
                        for (c = 1; c <= n_of[question[i]]; c++) {
                                text[i] = all " " case_of[question[i], c]
                                judge(i, case_of[question[i], c])
                        }
                }
        }
        printf "\n%d met, %d within the bound but not the goal, %d missed, %d not told apart from the driver.\n",
                count["met"], count[between], count["missed"], count["not told apart"]
}

# What targets.awk and summary.awk share: the figures of results.csv, and how far they may be trusted.

# A line of it: question,case,metric,unit,allocator,group,median,net,min,max,runs,q1,q3,kind
function read_figure(    f, key) {
        split($0, f, ",")
        if (f[1] == "question")
                return
        key = f[1] "," f[2] "," f[3]
        if (!(key in unit)) {
                unit[key] = f[4]
                kind[key] = f[14]
                row[++n_rows] = key
        }
        if (!((f[1], f[2]) in known_case)) {
                known_case[f[1], f[2]] = 1
                case_of[f[1], ++n_of[f[1]]] = f[2]
        }
        if (!(f[5] in group)) {
                group[f[5]] = f[6]
                allocator[++n_allocators] = f[5]
        }
        value[key, f[5], "median"] = f[7]
        value[key, f[5], "net"] = f[8]
        if (f[5] == "null")
                spread[key] = f[13] - f[12]
}

# How far two figures of the driver alone may lie apart: what half of its runs do, and 5 % at least.
function noise_of(key,    least) {
        if (!((key, "null", "median") in value))
                return 0
        least = 0.05 * value[key, "null", "median"]
        return spread[key] > least ? spread[key] : least
}

# The best of the others, of one group or of all: its name, or nothing.
function best_of(key, col, of_group,    a, who, best, sign) {
        best = ""
        sign = kind[key] == "more" ? -1 : 1
        for (a = 1; a <= n_allocators; a++) {
                who = allocator[a]
                if (who == "shmalloc" || who == "null" || (of_group != "" && group[who] != of_group) ||
                    !((key, who, col) in value))
                        continue
                if (best == "" || sign * value[key, who, col] < sign * value[key, best, col])
                        best = who
        }
        return best
}

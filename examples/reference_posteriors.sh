#!/usr/bin/env bash
# Our reference posteriors against shipped ones: C2ST for each observation set and number of observations.
#
#   examples/reference_posteriors.sh REFERENCE OUT [TASK ...]
#
# REFERENCE is a folder with {task}.h5 (x_obs (sets, 100, d), posterior/n{n} (sets, 1000, m)). Writes OUT/c2st.csv (rows that
# are there are kept) and prints the mean of each task and n, and the sets furthest from 0.5. Environment: SETS (default 15),
# N_OBS (default "1 8 14 22 30"), SEED (default 0), REFERENCE_OPTIONS (further options of `tallsbi reference`).
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
reference=$1
out=$2
shift 2
tasks=("$@")
[ ${#tasks[@]} -gt 0 ] || tasks=(sir lotka_volterra bernoulli_glm gaussian_mixture gaussian_linear slcp gaussian_mixture_uniform two_moons)
root=$(cd "$(dirname "$0")/.." && pwd)
tallsbi() { "${TALLSBI:-$root/tools/tallsbi}" --seed "${SEED:-0}" --quiet "$@"; }
mkdir -p "$out"
csv=$out/c2st.csv
[ -e "$csv" ] || echo "task,set,n_obs,rhat,ess,c2st" > "$csv"

number() { sed -n "s/.*\"$1\": *\([-0-9.eE]*\).*/\1/p" | head -1; }
# The extreme of the list under a name: number of the sort order that picks it.
extreme() { sed -n "s/.*\"$1\": *\[\([^]]*\)\].*/\1/p" | tr ',' '\n' | sort -g $2 | head -1; }

for task in "${tasks[@]}"; do
    observed=x_obs
    [ "$task" != bernoulli_glm ] || observed=x_summary
    for n in ${N_OBS:-1 8 14 22 30}; do
        for ((set = 0; set < ${SETS:-15}; set++)); do
            ! grep -q "^$task,$((set + 1)),$n," "$csv" || continue
            posterior=$out/$task-$set-n$n.nc
            # shellcheck disable=SC2086
            if ! json=$(tallsbi reference "$task" --observations "$reference/$task.h5:$observed:$set" --n-obs "$n" \
                -o "$posterior" --force --allow-unconverged --json ${REFERENCE_OPTIONS:-}); then
                echo "$task,$((set + 1)),$n,,," >> "$csv"
                continue
            fi
            c2st=$(tallsbi diagnose c2st "$posterior" --json --reference "$reference/$task.h5:posterior/n$n:$set" | number value)
            echo "$task,$((set + 1)),$n,$(extreme rhat -r <<< "$json"),$(extreme ess_tail '' <<< "$json"),$c2st" >> "$csv"
            rm -f "$posterior"
        done
    done
done

awk -F, 'NR > 1 && $6 != "" {
    key = sprintf("%-25s n=%-3d", $1, $3)
    if (!(key in count)) order[++keys] = key
    count[key]++; sum[key] += $6
    if (!(key in worst) || $6 > worst[key]) { worst[key] = $6; worst_set[key] = $2 }
    if ($4 > rhat[key]) rhat[key] = $4
} END {
    printf "%-31s %8s %8s %5s %10s\n", "", "C2ST", "largest", "set", "max R-hat"
    for (i = 1; i <= keys; i++) {
        key = order[i]
        printf "%s %8.4f %8.4f %5d %10.4f\n", key, sum[key] / count[key], worst[key], worst_set[key], rhat[key]
    }
}' "$csv"

#!/usr/bin/env bash
# SLCP, SIR and Lotka–Volterra from simulation to C2ST, against reference posteriors of the tall data.
#
#   examples/benchmark.sh REFERENCE OUT [TASK ...]
#
# REFERENCE is a folder with {task}.h5 (x_obs (sets, 100, d), posterior/n{n} (sets, 1000, m)) and ignore_nums.json, the
# observation sets the paper's averages leave out. Writes OUT/metrics.csv and prints the means, over the sets the paper keeps
# and over all. Environment: SETS (default 15), N_OBS (default "1 14 30"), SIMULATIONS (default 30000), SEED (default 0),
# TRAIN and SAMPLE (further options of those commands).
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
reference=$1
out=$2
shift 2
tasks=("$@")
[ ${#tasks[@]} -gt 0 ] || tasks=(slcp sir lotka_volterra)
root=$(cd "$(dirname "$0")/.." && pwd)
tallsbi() { "${TALLSBI:-$root/tools/tallsbi}" --seed "${SEED:-0}" --quiet "$@"; }
mkdir -p "$out"
csv=$out/metrics.csv
echo "task,set,kept,n_obs,metric,value" > "$csv"

# The value of {"value": 0.5, ...}.
value() { sed -n 's/.*"value": *\([-0-9.eE]*\).*/\1/p' | head -1; }
ignored() { tr -d ' \n' < "$reference/ignore_nums.json" | sed -n "s/.*per_task_main.*\"$1\":\[\([0-9,]*\)\].*/,\1,/p"; }

for task in "${tasks[@]}"; do
    model=$out/$task.safetensors
    if [ ! -e "$model" ]; then
        [ -e "$out/$task.h5" ] || tallsbi simulate "$task" -n "${SIMULATIONS:-30000}" -o "$out/$task.h5" > /dev/null
        # shellcheck disable=SC2086
        tallsbi train "$out/$task.h5" -o "$model" --resume ${TRAIN:-}
    fi
    skip=$(ignored "$task")
    for n in ${N_OBS:-1 14 30}; do
        for ((set = 0; set < ${SETS:-15}; set++)); do
            posterior=$out/$task-$set-n$n.nc
            # shellcheck disable=SC2086
            tallsbi sample "$model" --observations "$reference/$task.h5:x_obs:$set" --n-obs "$n" \
                -o "$posterior" --force ${SAMPLE:-} > /dev/null
            kept=1
            case "$skip" in *",$((set + 1)),"*) kept=0 ;; esac
            for metric in sliced-wasserstein mmd c2st; do
                measured=$(tallsbi diagnose "$metric" "$posterior" --json \
                    --reference "$reference/$task.h5:posterior/n$n:$set" | value)
                echo "$task,$((set + 1)),$kept,$n,$metric,$measured" >> "$csv"
            done
        done
    done
done

awk -F, 'NR > 1 {
    key = sprintf("%-15s n=%-3d %-19s", $1, $4, $5)
    if (!(key in count)) order[++keys] = key
    count[key]++; sum[key] += $6
    if ($3) { kept[key]++; kept_sum[key] += $6 }
    if (!(key in worst) || $6 > worst[key]) worst[key] = $6
} END {
    printf "%-40s %9s %9s %9s\n", "", "kept", "all", "worst"
    for (i = 1; i <= keys; i++) {
        key = order[i]
        printf "%s %9.4f %9.4f %9.4f\n", key, kept[key] ? kept_sum[key] / kept[key] : 0, sum[key] / count[key], worst[key]
    }
}' "$csv"

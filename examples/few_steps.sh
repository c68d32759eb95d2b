#!/usr/bin/env bash
# Does sampling in 30 evaluations give what 1000 steps of DDIM, uniform in log-SNR, give? The table of docs/samplers.md: the reference
# networks of the paper's authors, GAUSS, distances between the two, beside those between two seeds of DDIM (seed noise), and CPU time
# on one thread.
#
#   examples/few_steps.sh NETWORKS REFERENCE [TASKS [N_OBS [SETS [SAMPLES]]]] > table.md
#   examples/few_steps.sh ../shared/data/networks ../shared/data/reference "slcp sir lotka_volterra" "1 14 30" "0 1" 1000
#
# NETWORKS/TASK/n30000.safetensors and REFERENCE/TASK.h5 (x_obs) are read. TALLSBI names the program.
set -euo pipefail
tallsbi=${TALLSBI:-tallsbi}
networks=$1 reference=$2 tasks=${3:-slcp sir lotka_volterra} counts=${4:-1 14 30} sets=${5:-0 1} samples=${6:-1000}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
TIMEFORMAT=%U

# draw NAME OPTION..: samples into NAME.nc, prints user CPU seconds.
draw() {
    local name=$1
    shift
    { time "$tallsbi" -q --threads 1 sample "$network" --observations "$reference/$task.h5:x_obs:$set" --n-obs "$n" \
        --samples "$samples" "$@" -o "$work/$name.nc" --force > "$work/log" 2>&1; } 2>&1 || cat "$work/log" >&2
}

# distances NAME: sliced Wasserstein, MMD² and C2ST to ddim.nc.
distances() {
    local metric
    for metric in sliced-wasserstein mmd c2st; do
        "$tallsbi" -q --json diagnose "$metric" "$work/$1.nc" --reference "$work/ddim.nc" \
            | sed 's/.*"value":\([^,}]*\).*/\1/' | awk -v metric="$metric" '{ printf metric == "c2st" ? " %.3f |" : " %.4f |", $1 }'
    done
}

echo "| task | n | set | compared with DDIM, 1000 steps | sliced W. | MMD² | C2ST | CPU s | DDIM's CPU s / this |"
echo "|---|---|---|---|---|---|---|---|---|"
for task in $tasks; do
    network=$networks/$task/n30000.safetensors
    for n in $counts; do
        for set in $sets; do
            slow=$(draw ddim --seed 0 --sampler ddim --steps 1000 --grid log-snr)
            row() {
                local seconds
                seconds=$(draw other "${@:2}")
                echo "| $task | $n | $set | $1 |$(distances other) $seconds | $(awk "BEGIN { printf \"%.1f\", $slow / $seconds }") |"
            }
            row "another seed of DDIM" --seed 1 --sampler ddim --steps 1000 --grid log-snr
            row "DDIM, 1000 steps uniform in t" --seed 3 --sampler ddim --steps 1000
            row "DPM-Solver++, 60, η = 1" --seed 2 --sampler dpm-solver --steps 60 --eta 1
            row "DPM-Solver++, 30, η = 1" --seed 2 --sampler dpm-solver --steps 30 --eta 1
            row "DPM-Solver++, 20, η = 1" --seed 2 --sampler dpm-solver --steps 20 --eta 1
            row "DPM-Solver++, 30, η = 0" --seed 2 --sampler dpm-solver --steps 30 --eta 0
        done
    done
done

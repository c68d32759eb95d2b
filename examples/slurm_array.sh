#!/usr/bin/env bash
# One training set, simulated by the tasks of a SLURM array: each makes a shard in a file of its own, and goes on with it when it is queued again.
#
#   jobs=$(sbatch --parsable --array=1-16 examples/slurm_array.sh jrnmm 2000000 shards)
#   sbatch --dependency=afterok:$jobs --wrap 'tallsbi merge shards/*.h5 -o train.h5'
#
# MODEL.toml serves in place of a task's name; its program is started on each node. The merged file has the contents of one process's.
#SBATCH --cpus-per-task=8
#SBATCH --time=01:00:00
#SBATCH --requeue
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: sbatch --array=1-SHARDS slurm_array.sh TASK|MODEL.toml ROWS FOLDER [OPTIONS OF simulate ..]" >&2; exit 2; }
task=$1 rows=$2 folder=$3
shift 3
# Arrays are numbered 1 to the number of shards.
shard=${SLURM_ARRAY_TASK_ID:?is not set: run this by sbatch --array} shards=${SLURM_ARRAY_TASK_MAX:?is not set: run this by sbatch --array}
mkdir -p "$folder"
output=$(printf '%s/%05d.h5' "$folder" "$shard")
[ -e "$output" ] && resume=(--resume) || resume=()
exec "${TALLSBI:-tallsbi}" simulate "$task" -n "$rows" --shard "$shard/$shards" --threads "${SLURM_CPUS_PER_TASK:-1}" -o "$output" "${resume[@]}" "$@"

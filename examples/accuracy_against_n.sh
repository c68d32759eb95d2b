#!/usr/bin/env bash
# How the error of a trained model grows with the number of observations: C2ST against exact reference posteriors.
#
#   examples/accuracy_against_n.sh MODEL TASK OUT
#
# For SETS (default 5) parameters drawn from the prior: observations, a reference posterior and one of MODEL's for each n of
# N_OBS (default "1 3 10 30 100 300 1000"), and their C2ST. Writes OUT/TASK.csv (rows that are there are kept) and prints mean and
# largest C2ST of each n. SEED (default 0); TALLSBI is the program (default tools/tallsbi).
set -euo pipefail
[ $# -eq 3 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
model=$1 task=$2 out=$3
root=$(cd "$(dirname "$0")/.." && pwd)
tallsbi() { "${TALLSBI:-$root/tools/tallsbi}" --quiet "$@"; }
number() { sed -n "s/.*\"$1\": *\([-0-9.eE]*\).*/\1/p" | head -1; }
mkdir -p "$out"
csv=$out/$task.csv
[ -e "$csv" ] || echo "task,set,n_obs,c2st" > "$csv"
numbers=${N_OBS:-1 3 10 30 100 300 1000}
most=$(tr ' ' '\n' <<< "$numbers" | sort -n | tail -1)
for ((set = 0; set < ${SETS:-5}; set++)); do
    observations=$out/$task-$set.h5
    seed=$((${SEED:-0} + set))
    tallsbi --seed "$seed" observe "$task" --from-prior -n "$most" -o "$observations" --force > /dev/null
    for n in $numbers; do
        ! grep -q "^$task,$set,$n," "$csv" || continue
        exact=$out/$task-$set-n$n-reference.nc
        found=$out/$task-$set-n$n.nc
        tallsbi --seed "$seed" reference "$task" --observations "$observations" --n-obs "$n" -o "$exact" --force > /dev/null ||
            { echo "$task, set $set, n = $n: no reference posterior" >&2; continue; }
        tallsbi --seed "$seed" sample "$model" --observations "$observations" --n-obs "$n" -o "$found" --force > /dev/null
        echo "$task,$set,$n,$(tallsbi diagnose c2st "$found" --reference "$exact" --json | number value)" >> "$csv"
        rm -f "$exact" "$found"
    done
done
awk -F, 'NR > 1 { if (!($3 in sum)) order[++count] = $3; sum[$3] += $4; rows[$3]++; if ($4 > most[$3]) most[$3] = $4 }
    END { for (i = 1; i <= count; i++) printf "n = %-5d C2ST %.3f, largest %.3f\n", order[i], sum[order[i]] / rows[order[i]], most[order[i]] }' "$csv"

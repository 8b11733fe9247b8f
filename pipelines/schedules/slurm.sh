#!/bin/bash
# Slurm: an array whose tasks each do a share of the shards, then one task that finishes.
#
#   bash slurm.sh pipeline.yaml 8
#
# submits this file twice: as an array of 8 with a GPU each, and as a final task that starts
# whatever became of the array. What comes before the shards (reading the source, removing exact
# duplicates) is done by the share that is first, while the others wait for it. A share stops before
# the next stage that must see all shards; the final run does the rest, and redoes nothing. The
# folder must be on a file system that all nodes share, with locks.
#SBATCH --job-name=curate
#SBATCH --output=curate-%A-%a.log
#SBATCH --time=24:00:00
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --requeue
#SBATCH --signal=B:TERM@600
set -euo pipefail

if [[ -z "${SLURM_JOB_ID:-}" ]]; then
    pipeline=$1 shares=$2
    array=$(sbatch --parsable --array="1-${shares}" --gpus=1 "$0" "$pipeline" "$shares")
    sbatch --dependency="afterany:${array}" --gpus=1 "$0" "$pipeline" 1
    exit
fi

# Slurm signals this shell ten minutes before the end: pass it on, and let the shards in flight end.
share=()
if [[ -n "${SLURM_ARRAY_TASK_ID:-}" ]]; then
    share=(--shard "${SLURM_ARRAY_TASK_ID}/$2")
fi
trap 'kill -TERM "$!"' TERM # before the run starts: without it the signal would end this shell alone
curate run "$1" --root . --quiet "${share[@]}" &
child=$!
code=0
wait "$child" || code=$?
if kill -0 "$child" 2>/dev/null; then # the wait was cut short by the signal
    code=0
    wait "$child" || code=$?
fi
if [[ $code -eq 143 ]]; then
    scontrol requeue "${SLURM_JOB_ID}" # the same command resumes
fi
exit "$code"

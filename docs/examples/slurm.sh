#!/bin/bash
# An audit on four nodes of a SLURM cluster: sbatch slurm.sh audit.toml /shared/genaudit-cache
#
# Ray's own `symmetric-run` starts a Ray node on every machine, runs the command on the first, and
# ends the cluster with it. The configuration, the images, the weights and the store must lie in
# folders that all nodes see.
#SBATCH --job-name=genaudit
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00

set -euo pipefail

config=$1
cache=$2
output=${3:-genaudit-output}
port=6379

# Every task of the job must have the same token; nobody else gets it.
RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
RAY_USAGE_STATS_ENABLED=0
export RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED

head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head_node" hostname --ip-address | cut -d ' ' -f 1):$port

srun ray symmetric-run \
    --address "$address" \
    --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" \
    -- \
    genaudit run "$config" \
    --engine ray --address "$address" \
    --cache "$cache" -o "$output"

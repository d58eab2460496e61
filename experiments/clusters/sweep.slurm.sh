#!/bin/bash
# Runs a sweep on 4 nodes: `ray symmetric-run` starts Ray on each of them and the sweep on the first.
#
#     sbatch experiments/clusters/sweep.slurm.sh
#SBATCH --job-name=rnnt_qat_sweep
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --output=%x-%j.log
set -euo pipefail
source .venv/bin/activate
address=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):6379
srun --kill-on-bad-exit=1 ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
  python -m experiments.sweep --models=workdir/a/models/float --policies=w8a8,ethos_u_8x8_16 \
  --workdir=workdir/a/sweep --engine=ray --ray_address=auto --ray_cpus=4 --ray_gpus=1

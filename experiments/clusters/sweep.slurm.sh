#!/bin/bash
# Runs a sweep on 4 nodes: `ray symmetric-run` starts Ray on each of them and the sweep on the first.
# After any other end than success, submit it again: it computes what is missing.
#
#     sbatch experiments/clusters/sweep.slurm.sh
#
# Where nodes share no disk, --models and --workdir may be s3:// or gs:// (extra `remote`); the corpora
# of --data_dir must lie under one path on every node.
#SBATCH --job-name=rnnt_qat_sweep
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail
source .venv/bin/activate
address=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):6379
# One token for all nodes. Without these variables a node with ~/.ray/auth_token asks for it, and
# `ray symmetric-run` does not send it.
RAY_AUTH_TOKEN=$(python -c "import secrets; print(secrets.token_hex(32))")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
# Seconds that nodes wait for each other; the default, 30, is too short for a busy file system.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
# srun does not inherit the job's --cpus-per-task (since Slurm 22.05), and Ray would count the
# cores and accelerators of other jobs on the node as well.
srun --kill-on-bad-exit=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
  ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="$SLURM_GPUS_ON_NODE" -- \
  python -m experiments.sweep --models=workdir/a/models/float --policies=w8a8,ethos_u_8x8_16 \
  --workdir=workdir/a/sweep --engine=ray --ray_address=auto --ray_cpus=4 --ray_gpus=1

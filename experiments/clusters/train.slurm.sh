#!/bin/bash
# Trains one recognizer on all accelerators of 4 nodes: one process a node, which Slurm's variables
# bring together. Stopped 120 s before its time is over, or by a preemption, the job saves a
# checkpoint and returns to the queue; it goes on from there. After any other end, submit it again.
#
#     sbatch experiments/clusters/train.slurm.sh
#SBATCH --job-name=rnnt_qat
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail
source .venv/bin/activate
code=0
# srun does not inherit the job's --cpus-per-task (since Slurm 22.05). A task that dies ends the
# others by itself; --kill-on-bad-exit would, too, but with the exit code of a stopped training.
srun --kill-on-bad-exit=0 --wait=60 --cpus-per-task="$SLURM_CPUS_PER_TASK" \
  python -m experiments.train \
  --config=experiments/configs/librispeech.py:full_960 \
  --data_dir=corpora --workdir=workdir/full_960 --config.pipeline.row_multiple=32 || code=$?
# 143 is SIGTERM. Slurm itself requeues a job that it preempts only if it has to kill it.
if ((code == 143)); then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"

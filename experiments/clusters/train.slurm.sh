#!/bin/bash
# Trains one recognizer on all accelerators of 4 nodes: one process a node, which Slurm's variables
# bring together. Submit it again after a preemption; it goes on from the newest checkpoint.
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
#SBATCH --output=%x-%j.log
set -euo pipefail
source .venv/bin/activate
srun --kill-on-bad-exit=1 python -m experiments.train \
  --config=experiments/configs/librispeech.py:full_960 \
  --data_dir=corpora --workdir=workdir/full_960 --config.pipeline.row_multiple=32

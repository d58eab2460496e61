#!/bin/bash
# A Slurm cluster on one machine, for test_slurm.py: each node has a network, a name, processes and
# Ray's temporary folder of its own. Namespaces hold all of it, so that nothing outlives this process:
#
#     unshare --mount --net --uts --pid --fork --mount-proc --kill-child \
#       bash slurm_cluster.sh FOLDER NODES
set -euo pipefail
folder=$1 nodes=$2
export SLURM_CONF=$folder/slurm.conf
ray=$(dirname "$(mktemp --dry-run)")/ray  # where Ray keeps its sockets: below TMPDIR, as mktemp

mount --make-rprivate /
mount -t tmpfs tmpfs /run
hostname control
{
  echo "127.0.0.1 localhost"
  echo "10.77.0.254 control"
  for ((i = 1; i <= nodes; i++)); do echo "10.77.0.$i node$i"; done
} >"$folder/hosts"
mount --bind "$folder/hosts" /etc/hosts
cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=control
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=batch_sched_delay=1,sched_interval=1
ReturnToService=2
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
NodeName=node[1-$nodes] NodeAddr=10.77.0.[1-$nodes] CPUs=32 Gres=gpu:8
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF
END
for i in {0..7}; do mknod "$folder/gpu$i" c 1 3; done  # stand for the devices of accelerators
echo "NodeName=node[1-$nodes] Name=gpu File=$folder/gpu[0-7]" >"$folder/gres.conf"

mkdir -p "$folder/state" /run/munge
head -c 1024 /dev/urandom >/run/munge/key
chmod 600 /run/munge/key
munged --key-file=/run/munge/key --log-file="$folder/munged.log" --seed-file=/run/munge/seed

ip link set lo up
ip link add bridge type bridge
ip address add 10.77.0.254/24 dev bridge
ip link set bridge up
slurmctld -c
mkdir -p "$ray"
for ((i = 1; i <= nodes; i++)); do
  mkdir -p "$folder/spool-node$i"
  ip netns add "node$i"
  ip link add "to$i" type veth peer name eth0 netns "node$i"
  ip link set "to$i" master bridge up
  ip -n "node$i" link set lo up
  ip -n "node$i" address add "10.77.0.$i/24" dev eth0
  ip -n "node$i" link set eth0 up
  nsenter "--net=/run/netns/node$i" \
    unshare --mount --uts --pid --fork --mount-proc --kill-child bash -c "
    hostname node$i
    mount -t tmpfs tmpfs '$ray'
    slurmd -D -N node$i 2>/dev/null &
    wait" &  # bash is the node's process 1 and takes in orphans that end
done
wait

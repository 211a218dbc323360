#!/bin/sh
# Starts a Slurm cluster of one node on this machine, for tests. Run it as root:
#
#     apt-get install --no-install-recommends slurm-wlm munge
#     sh Testing/slurm/start.sh /tmp/slurm
#     export SLURM_CONF=/tmp/slurm/slurm.conf
#     ...
#     sh Testing/slurm/stop.sh /tmp/slurm
#
# Everything it writes is in that folder; nothing in /etc is read or changed. No control groups
# and no accounts: the least that Slurm runs with.
set -eu

folder=$(mkdir -p "$1" && cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin

for program in munged slurmctld slurmd sbatch squeue; do
    if ! command -v "$program" > /dev/null; then
        echo "$program is missing: apt-get install --no-install-recommends slurm-wlm munge" >&2
        exit 3
    fi
done
if [ "$(id -u)" != 0 ]; then
    echo "Slurm's daemons have to be started as root" >&2
    exit 3
fi

# Slurm wants folders that nobody else can write to.
umask 022
mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
chmod 700 "$folder/munge"

head -c 128 /dev/urandom > "$folder/munge/key"
chmod 400 "$folder/munge/key"
munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
    --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"

node=$(hostname -s)
cores=$(nproc)
memory=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
port=${SLURM_TEST_PORT:-16817}
cat > "$folder/slurm.conf" << END
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
SlurmctldPort=$port
SlurmdPort=$((port + 1))
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
KillWait=10
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=test Nodes=$node Default=YES MaxTime=INFINITE State=UP
END

export SLURM_CONF="$folder/slurm.conf"
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"

tries=0
until [ "$(sinfo --noheader --format=%T 2> /dev/null)" = idle ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 60 ]; then
        echo "the node did not come up:" >&2
        tail -n 20 "$folder/slurmctld.log" "$folder/slurmd.log" >&2
        sh "$here/stop.sh" "$folder"
        exit 1
    fi
    sleep 1
done
sinfo

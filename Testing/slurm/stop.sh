#!/bin/sh
# Ends what start.sh has started: sh Testing/slurm/stop.sh FOLDER
folder=$1
for file in slurmd.pid slurmctld.pid munge/pid; do
    if [ -s "$folder/$file" ]; then
        kill "$(cat "$folder/$file")" 2> /dev/null
    fi
done
# Munge goes last, and the folder may be taken away after that.
tries=0
while [ -e "$folder/munge/pid" ] && [ "$tries" -lt 50 ]; do
    tries=$((tries + 1))
    sleep 0.1
done
exit 0

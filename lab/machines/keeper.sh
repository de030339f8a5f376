#!/bin/sh -eu
# Runs one machine for as long as its power is on: gives it a root of its own disk above the shared layers, boots it,
# and boots it again when it asks for a reboot. Runs in a mount namespace of its own, so that the mounts go with it.
#   keeper.sh DIRECTORY LOWER-LAYERS SYSTEM-LAYER CGROUP-DIRECTORIES NSPAWN-ARGUMENTS...
directory=$1 lower=$2 system=$3 cgroups=$4
shift 4
for each in $cgroups; do echo 0 >"$each/cgroup.procs"; done
mount -t tmpfs -o mode=755 tmpfs /run/systemd # nspawn keeps its own there, and wants it off the disk
mkdir -p "$directory/disk" "$directory/root"
mount -o loop,noatime,discard "$directory/disk.img" "$directory/disk"
cd "$directory/disk"
if [ ! -d var-lib ]; then
  mkdir -p root/etc work
  cp -a "$directory/etc/." root/etc/
  cp -a "$system/var/lib" var-lib.new
  mv var-lib.new var-lib
fi
cd /
mount -t overlay overlay \
  -o "lowerdir=$lower,upperdir=$directory/disk/root,workdir=$directory/disk/work" "$directory/root"
asks_for_reboot=133
status=$asks_for_reboot
while [ $status = $asks_for_reboot ]; do
  status=0
  # /var/lib directly on the disk: containerd's snapshots are overlays, which cannot lie on another.
  systemd-nspawn --quiet --boot --register=no --keep-unit --console=pipe --capability=all \
    --system-call-filter='add_key keyctl bpf' --link-journal=no --resolv-conf=off --timezone=off \
    --directory="$directory/root" --bind="$directory/disk/var-lib:/var/lib" "$@" || status=$?
done
exit $status

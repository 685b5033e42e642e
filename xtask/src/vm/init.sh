#!/bin/sh
# The first process of the machine: mounts what a host has, loads modules, runs the suites, powers off.
export PATH=/usr/sbin:/usr/bin HOME=/root RUST_BACKTRACE=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t devpts devpts /dev/pts
for at in /dev/shm /tmp /run; do mount -t tmpfs tmpfs $at; done
chmod 1777 /tmp /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
for module in virtio_pci virtio_blk ext4 loop overlay btrfs xfs; do
  modprobe $module || echo "@@ note: no module $module"
done
mount -t ext4 /dev/vda /var/tmp || echo "@@ note: /var/tmp is not on a disk"
chmod 1777 /var/tmp
# As on a host: the state of services is on a disk too.
mkdir -p /var/lib /var/tmp/lib
mount --bind /var/tmp/lib /var/lib
hostname sfd-vm
uname -a

suite() {
  echo "@@ suite $1"
  shift
  "$@" --test-threads=1 2>&1
  echo "@@ exit $?"
}

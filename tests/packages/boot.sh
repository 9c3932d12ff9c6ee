#!/usr/bin/env bash
# The first process of a machine that is thrown away: this machine's files under an overlay in
# memory, no network but an address of its own, and systemd. It is started by tests/packages/run in
# new namespaces of every kind but that for users. Usage: boot.sh DIRECTORY
set -euo pipefail
place=$1
mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$place"
mkdir "$place"/{changes,work,root}
root=$place/root
mount -t overlay -o "lowerdir=/,upperdir=$place/changes,workdir=$place/work" none "$root"
mount -t proc none "$root/proc"
mount -t sysfs -o ro none "$root/sys"
mount -t tmpfs -o mode=755 none "$root/sys/fs/cgroup"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 none "$root/run"
touch "$root/run/thrown-away"
mount -t tmpfs -o mode=1777 none "$root/tmp"
mount -t tmpfs -o mode=755 none "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root"/dev/{pts,shm,mqueue}
mount -t devpts -o newinstance,ptmxmode=0666 none "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"

# Nothing of this machine's own starts there, and nothing forbids packages to start what is theirs.
rm -rf "$root"/etc/systemd/system/* "$root/usr/sbin/policy-rc.d" "$root/etc/fstab"
mkdir -p "$root/etc/systemd/system"

ip link set lo up
ip link add outside type veth peer name far
ip address add 192.0.2.1/24 dev outside
ip link set outside up
ip link set far up

cd "$root"
mkdir -p mnt
pivot_root . mnt
umount -l /mnt
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=hairpin-tests \
  /lib/systemd/systemd --system --unit=basic.target --show-status=no --log-target=null

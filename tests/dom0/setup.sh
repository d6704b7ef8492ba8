#!/bin/sh
# The first process in the namespaces of a stand-in dom0: mounts all that the dom0 needs, and waits
# for the end of its standard input. When this process ends, every process, mount and device in the
# namespaces goes.
#
#   setup.sh [DIRECTORY...]    directories that stay visible below a tree that gets covered
#
# All files written in the namespaces are on a tmpfs, so nothing is left on the host's disk.
set -eu

read -r pid _ </proc/self/stat # this process's pid as the host sees it
mount -n -t proc proc /proc

mount -n -t tmpfs -o mode=755 run /mnt
mkdir /mnt/.dom0
count=0
for kept; do
    count=$((count + 1))
    mkdir "/mnt/.dom0/kept$count"
    mount -n --bind "$kept" "/mnt/.dom0/kept$count"
done

for tree in usr etc opt var; do
    mkdir -p "/mnt/.dom0/$tree" "/mnt/.dom0/$tree.work"
    mount -n -t overlay -o "lowerdir=/$tree,upperdir=/mnt/.dom0/$tree,workdir=/mnt/.dom0/$tree.work" \
        "$tree" "/$tree"
done

# Every process of the host would see a socket that is made in the real /dev.
mkdir /mnt/.dom0/dev
mount -n -t tmpfs -o mode=755 dev /mnt/.dom0/dev
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/net /mnt/.dom0/dev/
mkdir /mnt/.dom0/dev/shm /mnt/.dom0/dev/pts
ln -s /proc/self/fd /mnt/.dom0/dev/fd
ln -s fd/0 /mnt/.dom0/dev/stdin
ln -s fd/1 /mnt/.dom0/dev/stdout
ln -s fd/2 /mnt/.dom0/dev/stderr
mount -n --bind /dev/pts /mnt/.dom0/dev/pts
mount -n --move /mnt/.dom0/dev /dev

mkdir -p /mnt/lock /mnt/openvswitch /mnt/udev /mnt/xen-hotplug /mnt/xenstore \
    /mnt/nonpersistent/xenopsd /var/log/xen
mount -n --move /mnt /run
count=0
for kept; do
    count=$((count + 1))
    mkdir -p "$kept"
    mount -n --move "/run/.dom0/kept$count" "$kept"
done

mount -n -t sysfs sysfs /sys
mount -n -t tmpfs -o mode=755 module /sys/module
for each in all default; do # only the tests may send frames
    echo 1 >"/proc/sys/net/ipv6/conf/$each/disable_ipv6" || :
done 2>/dev/null
ip link set lo up

echo "$pid"
read -r directory || exit 0
mount -n --bind "$directory" /run/openvswitch
echo bound
while read -r _; do :; done

#!/bin/busybox sh
# The guest's first program. It sets up what a program expects of a Linux machine, tells the host that it is ready, runs
# the script the host sends, and reports how that ended. Everything else that is printed goes to the kernel log.
# build/lab/conversation.js is the other end.

/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /etc /sbin /usr/bin /usr/sbin /project /userland /node_modules
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin:/sbin:/usr/sbin HOME=/root LANG=C.UTF-8 SHELL=/bin/sh USER=root

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for folder in /dev/shm /tmp /run /root; do mount -t tmpfs tmpfs $folder; done
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
exec </dev/null >/dev/kmsg 2>&1
echo on >/proc/sys/kernel/printk_devkmsg

# The host takes a power-off before the program's end for a failure, and shows the end of the kernel log.
give_up() {
  echo "<2>iospan lab: $*"
  sleep 0.2
  poweroff -f
}

# Devices appear a moment after their driver.
wait_for() {
  tries=0
  until [ -n "$(eval "$1")" ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || give_up "no $2 after 10 seconds"
    sleep 0.05
  done
}

port() {
  for folder in /sys/class/virtio-ports/*; do
    [ "$(cat $folder/name 2>/dev/null)" = "$1" ] && echo /dev/${folder##*/}
  done
}

# Folders of the host, which does not change them while the guest runs, so the guest may cache them.
share() {
  mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=$2 $1 /$1 || give_up "cannot mount $1"
}

modules=$(cat /lib/modules/$(uname -r)/modules.lab)
[ -z "$modules" ] || modprobe -a $modules || give_up "cannot load the kernel modules"
share project loose
case $(uname -r) in
  [1-5].*)
    # Old kernels fill the cache a page at a time, which is too slow for a program of 120 MB: fetch it whole.
    share userland none
    cp /userland/lib/* /lib/
    cp /userland/bin/node /usr/bin/node
    ;;
  *)
    share userland loose
    ln -s /userland/lib/* /lib/
    ln -s /userland/bin/node /usr/bin/node
    ;;
esac
mount --bind /userland/node_modules /node_modules
# What the host has put into memory (programs.ts) lies over the same folders of the checkout.
for folder in $(cat /programs/folders); do
  mount --bind /programs/$folder /project/$folder && mount -o remount,bind,ro /project/$folder || give_up "cannot mount $folder"
done
echo root:x:0:0:root:/root:/bin/sh >/etc/passwd
echo root:x:0: >/etc/group
echo 127.0.0.1 localhost >/etc/hosts
hostname iospan-lab
ip link set lo up
cd /project

wait_for 'port control' 'control port'
exec 3<>$(port control)
echo ready >&3
read -r script <&3
echo "$script" | base64 -d >/run/script

if wait_for 'port stdout; ls /dev/hvc0 2>/dev/null' 'output port' && [ -n "$(port stdout)" ]; then
  # Through pipes, since only one process at a time may open a port: a program may want /dev/stdout.
  mkfifo /run/stdout /run/stderr
  cat /run/stdout >$(port stdout) 3>&- &
  out=$!
  cat /run/stderr >$(port stderr) 3>&- &
  err=$!
  sh /run/script >/run/stdout 2>/run/stderr 3>&-
  status=$?
  # A process that the program left behind may hold the pipes open for ever.
  (sleep 2; kill $out $err) 3>&- &
  wait $out $err
else
  setsid -c sh /run/script </dev/hvc0 >/dev/hvc0 2>&1 3>&-
  status=$?
fi

echo "exit $status" >&3
poweroff -f

#!/usr/bin/env bash
# Two machines out of one, for `ray up`: each has processes, files (/root, /tmp, /run) and a network address of its own,
# and an sshd. `ray up` and `ray down` stop every Ray process that they can see; from in here they see only ours.
#
#   two_machines.sh VENV CHECKOUT COMMAND...   runs COMMAND on the first machine, in a copy of the checkout
#
# VENV has rlgan installed with its extra `cluster`; what the machines install into it stays in memory. Needs root.
set -euo pipefail

HEAD=10.77.0.1 WORKER=10.77.0.2
SPACES=(--mount --net --pid --fork --kill-child --mount-proc --propagation private)

fresh_machine() { # VENV CHECKOUT KEYS: files of its own
    local venv=$1 checkout=$2 keys=$3 python
    python=$("$venv/bin/python" -c 'import sys; print(sys.base_prefix)')
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/checkout /mnt/python /mnt/venv /mnt/changes /mnt/work
    mount --bind "$python" /mnt/python
    cp -r "$keys" /mnt/keys # before /tmp is another
    mount --bind "$checkout" /mnt/checkout
    mount -t overlay overlay -o "lowerdir=$venv,upperdir=/mnt/changes,workdir=/mnt/work" /mnt/venv
    mount -t tmpfs tmpfs /tmp
    mount -t tmpfs tmpfs /root
    mount -t tmpfs tmpfs /run
    # Where scripts of the environment look for their Python, and where the cluster file's commands look.
    mkdir -p "$python" "$venv" /root/rlgan-env
    mount --bind /mnt/python "$python"
    mount --bind /mnt/venv "$venv"
    mount --bind /mnt/venv /root/rlgan-env
    # There is no network but the other machine, and everything is installed already.
    mkdir -p /root/.config/pip
    # pip reads this `false` as "no isolation".
    printf '[global]\nno-index = true\nno-build-isolation = false\n' > /root/.config/pip/pip.conf
}

with_sshd() { # ADDRESS
    mkdir -p -m 700 /root/.ssh /run/sshd
    cp /mnt/keys/id_ed25519 /mnt/keys/id_ed25519.pub /root/.ssh/
    cp /mnt/keys/id_ed25519.pub /root/.ssh/authorized_keys
    ssh-keygen -q -t ed25519 -N '' -f /root/host_key
    /usr/sbin/sshd -f /dev/null -h /root/host_key -o "ListenAddress=$1" -o UsePAM=no -o PermitRootLogin=yes \
        -o StrictModes=no -o PidFile=none -o 'Subsystem=sftp internal-sftp'
}

case ${1:?} in
--worker) # the second machine: waits for its end of the cable, then serves
    fresh_machine "$2" "$3" "$4"
    until ip link show end2 > /dev/null 2>&1; do sleep 0.1; done
    ip link set lo up
    ip addr add "$WORKER/24" dev end2
    ip link set end2 up
    ip route add default via "$HEAD" # Ray finds a machine's address by the route out of it
    with_sshd "$WORKER"
    sleep infinity
    ;;
--head)
    venv=$2 checkout=$3 keys=$4
    shift 4
    unshare "${SPACES[@]}" "$0" --worker "$venv" "$checkout" "$keys" &
    worker=$!
    ip link add end1 type veth peer name end2
    # unshare itself stays outside the new network; its child is inside.
    until inside=$(pgrep -P "$worker"); do sleep 0.1; done
    ip link set end2 netns "$inside"
    ip link set lo up
    ip addr add "$HEAD/24" dev end1
    ip link set end1 up
    ip route add default via "$WORKER"
    fresh_machine "$venv" "$checkout" "$keys"
    with_sshd "$HEAD"
    cp -r /mnt/checkout /root/checkout
    cd /root/checkout
    export HOME=/root PATH=/root/rlgan-env/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
    until ssh -o StrictHostKeyChecking=no -o ConnectTimeout=2 "root@$WORKER" true 2> /dev/null; do sleep 0.2; done
    "$@"
    ;;
*)
    venv=$(realpath "$1") checkout=$(realpath "$2")
    shift 2
    keys=$(mktemp -d)
    trap 'rm -rf "$keys"' EXIT
    ssh-keygen -q -t ed25519 -N '' -f "$keys/id_ed25519"
    unshare "${SPACES[@]}" "$(realpath "$0")" --head "$venv" "$checkout" "$keys" "$@"
    ;;
esac

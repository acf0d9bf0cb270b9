#!/usr/bin/env bash
# The steps of the Dockerfile's target `cpu` on a bare Debian 12, where there is no container engine; then a demo as its user.
# As root:  debootstrap --variant=minbase --include=ca-certificates bookworm ROOT http://deb.debian.org/debian
#           tests/tools/bare_debian.sh ROOT
# It says what the whole takes on the disk. Debian's own Python stands for that of the image python:3.11-slim-bookworm.
set -euo pipefail
here="$(cd "$(dirname "$0")/../.." && pwd)"
root="$(cd "${1:?bare_debian.sh ROOT}" && pwd)"
[ "${OWN_MOUNTS:-}" ] || OWN_MOUNTS=1 exec unshare --mount "$0" "$root"

mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 none "$root/tmp"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mkdir -p "$root/src"
tar -C "$here" --exclude .git --exclude .venv -cf - . | tar -C "$root/src" -xf -
exec chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin bash -euxc '
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3 python3-venv
/src/deploy/setup.sh system runtime
time /src/deploy/setup.sh install /opt/usthand cpu
time /src/deploy/setup.sh slim /opt/usthand
id usthand || useradd --create-home --uid 1000 --groups video usthand
rm -rf /src /var/lib/apt/lists/* /root/.cache
apt-get clean
cd /home/usthand
/opt/usthand/bin/python -m deploy.sbom /opt/usthand/share/usthand
du -sxm / /opt/usthand
time su usthand -c "/opt/usthand/bin/usthand demo --no-viewer --seconds 5"
su usthand -c "/opt/usthand/bin/usthand doctor" || true
su usthand -c "/opt/usthand/bin/usthand demo --headless /tmp/demo.mp4 --seconds 2"
'

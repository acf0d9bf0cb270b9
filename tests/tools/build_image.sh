#!/usr/bin/env bash
# Builds the Dockerfile's target `cpu` with buildah where there is no Docker and its registry cannot be reached: Debian's
# own Python stands for that of python:3.11-slim-bookworm. Then runs it as `docker run --read-only --cap-drop ALL` does.
# As root, after: apt-get install buildah mmdebstrap
#   tests/tools/build_image.sh FOLDER             6 GB there; an image that lies there is not built again
#   tests/tools/build_image.sh FOLDER COMMAND...  something else than a demo, such as: usthand doctor
# BUILD_FLAGS are for buildah, such as the mounts that an own certificate or package index needs.
set -euo pipefail
here="$(cd "$(dirname "$0")/../.." && pwd)"
mkdir -p "${1:?build_image.sh FOLDER}/tmp"
folder="$(cd "$1" && pwd)"
shift
export BUILDAH_ISOLATION=chroot TMPDIR="$folder/tmp"
buildah=(buildah --root "$folder/store" --runroot "$folder/run" --storage-driver overlay)
base=docker.io/library/python:3.11-slim-bookworm

make_base() {
    local container
    mmdebstrap --variant=minbase --include=ca-certificates,netbase,tzdata,python3,python3-venv bookworm "$folder/base.tar"
    container="$("${buildah[@]}" from scratch)"
    "${buildah[@]}" add "$container" "$folder/base.tar" / >/dev/null
    "${buildah[@]}" run "$container" -- ln -s /usr/bin/python3 /usr/local/bin/python
    "${buildah[@]}" config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    "${buildah[@]}" commit --rm "$container" "$base" >/dev/null
    rm "$folder/base.tar"
}

"${buildah[@]}" inspect --type image "$base" >/dev/null 2>&1 || make_base
"${buildah[@]}" inspect --type image usthand >/dev/null 2>&1 ||
    "${buildah[@]}" bud --pull-never --format docker ${BUILD_FLAGS:-} -t usthand "$here"
"${buildah[@]}" images
container="$("${buildah[@]}" from --pull-never usthand)"
root="$("${buildah[@]}" mount "$container")"
trap '"${buildah[@]}" rm "$container" >/dev/null' EXIT
du -sxm "$root"
du -sxm "$root/opt/usthand"
[ $# -gt 0 ] || set -- usthand demo --no-viewer --seconds 5
ROOT="$root" unshare --mount --pid --ipc --uts --fork bash -ec '
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -o remount,ro,bind "$ROOT"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs -o mode=755 none "$ROOT/dev"
for each in null zero urandom random; do touch "$ROOT/dev/$each"; mount --bind "/dev/$each" "$ROOT/dev/$each"; done
mkdir "$ROOT/dev/shm"
mount -t tmpfs -o mode=1777,size=64m none "$ROOT/dev/shm"
mount -t tmpfs -o mode=1777,size=256m none "$ROOT/tmp"
mount -t tmpfs -o uid=1000,gid=1000,mode=700,size=512m none "$ROOT/home/usthand"
cd "$ROOT"
time chroot "$ROOT" /usr/bin/env -i HOME=/home/usthand LANG=C.UTF-8 PATH=/opt/usthand/bin:/usr/local/bin:/usr/bin:/bin \
    setpriv --reuid 1000 --regid 1000 --groups 44 --inh-caps=-all --bounding-set=-all --no-new-privs \
    sh -c "cd; exec \"\$@\"" sh "$@"
' sh "$@"

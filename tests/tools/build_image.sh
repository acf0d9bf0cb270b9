#!/usr/bin/env bash
# Builds a target of the Dockerfile, TARGET or `cpu`, with buildah where there is no Docker and its registry cannot be
# reached: Debian's own Python stands for that of python:3.11-slim-bookworm. Then runs it as `docker run --read-only
# --cap-drop ALL` does.
# As root, after: apt-get install buildah mmdebstrap
#   tests/tools/build_image.sh FOLDER             6 GB there, 25 GB for `dev`; an image that lies there is not built again
#   tests/tools/build_image.sh FOLDER COMMAND...  something else than a demo, such as: usthand doctor
#   TARGET=dev tests/tools/build_image.sh FOLDER python -m pytest -q -p no:cacheprovider tests/calibration/board
# BUILD_FLAGS are for buildah, such as the mounts that an own certificate or package index needs.
set -euo pipefail
here="$(cd "$(dirname "$0")/../.." && pwd)"
mkdir -p "${1:?build_image.sh FOLDER}/tmp"
folder="$(cd "$1" && pwd)"
shift
export BUILDAH_ISOLATION=chroot TMPDIR="$folder/tmp"
buildah=(buildah --root "$folder/store" --runroot "$folder/run" --storage-driver overlay)
base=docker.io/library/python:3.11-slim-bookworm
target="${TARGET:-cpu}"
image=usthand
[ "$target" = cpu ] || image="usthand-$target"
environment=/opt/usthand start=/home/usthand
[ "$target" != dev ] || environment=/src/.venv start=/src

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
"${buildah[@]}" inspect --type image "$image" >/dev/null 2>&1 ||
    "${buildah[@]}" bud --pull-never --format docker ${BUILD_FLAGS:-} --target "$target" -t "$image" "$here"
"${buildah[@]}" images
container="$("${buildah[@]}" from --pull-never "$image")"
root="$("${buildah[@]}" mount "$container")"
trap '"${buildah[@]}" rm "$container" >/dev/null' EXIT
du -sxm "$root"
du -sxm "$root$environment"
[ $# -gt 0 ] || set -- usthand demo --no-viewer --seconds 5
ROOT="$root" ENVIRONMENT="$environment" START="$start" unshare --mount --pid --ipc --uts --fork bash -ec '
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
time chroot "$ROOT" /usr/bin/env -i HOME=/home/usthand LANG=C.UTF-8 START="$START" \
    PATH="$ENVIRONMENT/bin:/usr/local/bin:/usr/bin:/bin" \
    setpriv --reuid 1000 --regid 1000 --groups 44 --inh-caps=-all --bounding-set=-all --no-new-privs \
    sh -c "cd \"\$START\"; exec \"\$@\"" sh "$@"
' sh "$@"

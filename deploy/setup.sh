#!/usr/bin/env bash
# Makes .venv with everything that the application and its tests need, and sees to the few system libraries that
# wheels do not carry. Quick when nothing changed. PYTHON=/path/to/python3.11 chooses the interpreter of a new .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

extras="basler,train,cpu,export,tensorrt-rtx,c3d,parquet,usd,nwb,osc,lsl,websocket,mqtt,web,rerun,mcap,batch,ray,slurm,test,dev"
runtime_packages="libusb-1.0-0 libgl1 libegl1 libgomp1 libx11-6 libglib2.0-0 libgl1-mesa-dri"
test_packages="xvfb ffmpeg xdotool chromium chromium-driver poppler-utils mosquitto"
apt_line=""

is_installed() {
    dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed ||
        dpkg-query -W -f='${db:Status-Status}\n' "$1t64" 2>/dev/null | grep -qx installed
}

install_system_packages() {
    if ! command -v dpkg-query >/dev/null; then
        echo "setup: this is not a Debian system; install what corresponds to: $runtime_packages $test_packages" >&2
        return
    fi
    local missing=() package sudo=""
    for package in $runtime_packages $test_packages; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    apt_line="sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        sudo="sudo -n"
        if ! sudo -n true 2>/dev/null; then
            echo "setup: system packages are missing. Install them with:" >&2
            echo "    $apt_line" >&2
            return
        fi
    fi
    echo "setup: installing ${missing[*]}"
    if $sudo apt-get update -qq &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null
    then
        apt_line=""
    else
        echo "setup: system packages could not be installed. Install them with:" >&2
        echo "    $apt_line" >&2
    fi
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python}; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
        then
            echo "$candidate"
            return
        fi
    done
    echo "setup: no Python 3.11, 3.12 or 3.13 with its venv module among: ${PYTHON:-python3 python3.11 python3.12 python3.13 python}." >&2
    echo "Install one (Debian 12: sudo apt-get install python3 python3-venv), or name it: make venv PYTHON=/path/to/python3.11" >&2
    exit 1
}

wanted() { # what .venv was made from: the settings, and this place, since the install is editable
    { cat pyproject.toml constraints.txt deploy/setup.sh; pwd; } | sha256sum | cut -d' ' -f1
}

install_system_packages
if [ ! -x .venv/bin/usthand ] || [ "$(cat .venv/.made-from 2>/dev/null)" != "$(wanted)" ]; then
    python="$(find_python)"
    echo "setup: making .venv with $("$python" --version); the first time takes some minutes"
    rm -f .venv/.made-from
    "$python" -m venv --clear .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$extras]"
    wanted >.venv/.made-from
fi
if ! error="$(.venv/bin/python -c 'import cv2, open3d' 2>&1)"; then
    echo "setup: OpenCV or Open3D cannot be loaded: $(tail -n 1 <<<"$error")" >&2
    [ -z "$apt_line" ] || echo "Install the missing system packages: $apt_line" >&2
    exit 1
fi

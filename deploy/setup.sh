#!/usr/bin/env bash
# Makes .venv with everything that the application and its tests need, and sees to the few system libraries that
# wheels do not carry. Quick when nothing changed. PYTHON=/path/to/python3.11 chooses the interpreter of a new .venv.
#
#   deploy/setup.sh tests                  the system's packages that only the tests need, where they may be installed
# The container image is made of the same steps, one at a time:
#   deploy/setup.sh system runtime|all     the system's packages: those of the application, or those of its tests too
#   deploy/setup.sh install DIR EXTRAS     a virtual environment in DIR with the application, as pip installs it
#   deploy/setup.sh slim DIR               the same without pip, and without Open3D's CUDA code, which nothing here uses
set -euo pipefail
cd "$(dirname "$0")/.."

extras="basler,train,cpu,export,tensorrt-rtx,c3d,parquet,usd,nwb,osc,lsl,websocket,mqtt,web,rerun,mcap,batch,ray,slurm,test,dev"
runtime_packages="libusb-1.0-0 libgl1 libegl1 libgomp1 libx11-6 libglib2.0-0 libgl1-mesa-dri"
test_packages="xvfb ffmpeg xdotool chromium chromium-driver poppler-utils mosquitto munge slurm-client slurmctld slurmd"
apt_line=""

is_installed() {
    dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed ||
        dpkg-query -W -f='${db:Status-Status}\n' "$1t64" 2>/dev/null | grep -qx installed
}

install_system_packages() { # the packages, as one word each
    if ! command -v dpkg-query >/dev/null; then
        echo "setup: this is not a Debian system; install what corresponds to: $*" >&2
        return
    fi
    local missing=() package sudo=""
    for package in "$@"; do
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

make_venv() { # its folder, and what pip is to install there
    local folder="$1" python
    shift
    python="$(find_python)"
    echo "setup: making $folder with $("$python" --version); the first time takes some minutes"
    "$python" -m venv --clear "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt "$@"
}

wanted() { # what .venv was made from: the settings, and this place, since the install is editable
    { cat pyproject.toml constraints.txt deploy/setup.sh; pwd; } | sha256sum | cut -d' ' -f1
}

make_slim() { # an environment's folder
    local pip=("$1/bin/python" -m pip --quiet --disable-pip-version-check) version
    version="$("$1/bin/python" -c 'import importlib.metadata as m; print(m.version("open3d"))')"
    if [ "$(uname -m)" = x86_64 ]; then # elsewhere it has none
        "${pip[@]}" uninstall --yes open3d
        "${pip[@]}" install --no-deps "open3d-cpu==$version"
    fi
    "${pip[@]}" uninstall --yes pip
}

check_libraries() { # of the environment in a folder
    local error
    if ! error="$("$1/bin/python" -c 'import cv2, open3d' 2>&1)"; then
        echo "setup: OpenCV or Open3D cannot be loaded: $(tail -n 1 <<<"$error")" >&2
        [ -z "$apt_line" ] || echo "Install the missing system packages: $apt_line" >&2
        exit 1
    fi
}

case "${1:-develop}" in
develop)
    install_system_packages $runtime_packages
    if [ ! -x .venv/bin/usthand ] || [ "$(cat .venv/.made-from 2>/dev/null)" != "$(wanted)" ]; then
        rm -f .venv/.made-from
        make_venv .venv -e ".[$extras]"
        wanted >.venv/.made-from
    fi
    check_libraries .venv
    ;;
tests)
    install_system_packages $test_packages
    ;;
system)
    packages="$runtime_packages"
    [ "${2:-all}" = runtime ] || packages="$packages $test_packages"
    install_system_packages $packages
    [ -z "$apt_line" ] || exit 1
    ;;
install)
    make_venv "${2:?setup.sh install DIR EXTRAS}" ".[${3:?setup.sh install DIR EXTRAS}]"
    check_libraries "$2"
    ;;
slim)
    make_slim "${2:?setup.sh slim DIR}"
    check_libraries "$2"
    ;;
*)
    echo "setup: unknown step $1; there are: develop, tests, system, install, slim" >&2
    exit 2
    ;;
esac

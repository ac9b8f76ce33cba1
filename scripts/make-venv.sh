#!/bin/sh
# Make a virtual environment: make-venv.sh PYTHON FOLDER. Debian keeps the venv module in a package of its own.
set -eu
python=$1
folder=$2

fail() {
    echo "make: $*" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "there is no $python: install Python 3.11 or newer (apt-get install python3), or say make PYTHON=..."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old: Python 3.11 or newer is needed; say make PYTHON=..."

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    . "$(dirname "$0")/as-root.sh"
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    echo "Installing $package ..."
    as_root apt-get -qq update &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$package" >/dev/null ||
        fail "$python lacks the modules venv and ensurepip: run 'apt-get install $package' as root, then make again"
fi

mkdir -p "$folder"
# "clear" mends an environment whose making was interrupted.
"$python" -m venv --clear "$folder"
mkdir -p "$folder/home"

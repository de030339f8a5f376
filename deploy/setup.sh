#!/bin/sh
# Installs what is missing on a Debian or Ubuntu machine: packages, then a virtual environment in .venv.
# Quiet when nothing is missing. Run again at any time.
set -eu
cd "$(dirname "$0")/.."

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else return 1; fi
}

missing=""
need() { # need PROGRAM PACKAGE
  PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need python3 python3
need containerd containerd
need runc runc
need iptables-restore iptables
need conntrack conntrack
need ip iproute2
need busybox busybox-static
need catatonit catatonit
need flock util-linux
need curl curl
need etcdctl etcd-client
[ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || missing="$missing containernetworking-plugins"
command -v kubectl >/dev/null 2>&1 || missing="$missing kubernetes-client"
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"

if [ -n "$missing" ]; then
  echo "installing packages:$missing"
  {
    as_root apt-get update -qq &&
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
  } >/tmp/steersman-setup.log 2>&1 || {
    tail -5 /tmp/steersman-setup.log >&2
    echo "could not install:$missing. Install them and run this again." >&2
    exit 1
  }
fi

python3 - <<'P' || { echo "Python 3.11 or newer is needed; this is $(python3 --version)" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
P

wanted=$(cksum pyproject.toml)
if [ "$(cat .venv/.installed 2>/dev/null)" != "$wanted" ] || ! .venv/bin/python -c pass 2>/dev/null; then
  echo "installing Python packages into .venv"
  [ -x .venv/bin/python ] && .venv/bin/python -c pass 2>/dev/null || python3 -m venv --clear .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]' >/tmp/steersman-setup.log 2>&1 || {
    tail -5 /tmp/steersman-setup.log >&2
    exit 1
  }
  echo "$wanted" >.venv/.installed
fi

# Python compiles modules when it first needs them, and keeps that where it may; here it is done once for all processes.
.venv/bin/python -m compileall -q -j 2 $(for package in */__init__.py; do echo "${package%/*}"; done)

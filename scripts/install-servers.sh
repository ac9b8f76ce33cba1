#!/bin/sh
# Install the servers that the tests start privately. They are kept from starting as system services.
# Where that cannot be done, the tests that need them fail and say what to install.
set -eu
. "$(dirname "$0")/as-root.sh"

missing=
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null || missing="$missing rabbitmq-server"
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
[ -n "$missing" ] || exit 0

give_up() {
    echo "make: cannot install$missing: $*; tests that need them will fail" >&2
    exit 0
}

command -v apt-get >/dev/null || give_up "there is no apt-get here"
as_root true 2>/dev/null || give_up "neither root nor sudo without a password; run 'apt-get install$missing' as root"

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    # invoke-rc.d(8): 101 forbids every action.
    trap 'as_root rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy"
fi
echo "Installing$missing ..."
# RUNLEVEL is for what starts services without asking the policy.
as_root apt-get -qq update || echo "make: apt-get update failed, trying with what is known" >&2
# shellcheck disable=SC2086
as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get -qq install --yes --no-install-recommends $missing >/dev/null || give_up "apt-get install failed, see above"

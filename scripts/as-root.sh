# To be sourced. as_root COMMAND...: run it as root, or fail without asking anything.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@" </dev/null
    else
        sudo -n "$@" </dev/null
    fi
}

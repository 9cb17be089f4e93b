#!/bin/sh
# Written by infra while it installs packages. A service that did not run before does not start
# until its configuration is there. Outside of that installation the host's own policy counts.
own=/usr/sbin/policy-rc.d.before-infra
held=/run/infra-held-services

ask_own_policy() {
    [ -x "$own" ] && exec "$own" "$@"
    exit 0
}

[ -n "${INFRA_HOLDS_SERVICES:-}" ] || ask_own_policy "$@"
case "$1" in --quiet) set -- "$2" "$3" "${4:-}" ;; esac
unit=${1%.service}
case "$2" in *start* | *reload*) ;; *) ask_own_policy "$@" ;; esac
# Timers start nothing at once, and the message bus is what others need to be installed.
case "$unit" in *.timer | dbus | dbus.socket) ask_own_policy "$@" ;; esac
# A unit that is not enabled is not started anyway, and a refusal here would refuse the others
# that are named with it.
case "$(systemctl is-enabled -- "$unit" 2>/dev/null)" in
static | disabled | masked | indirect) ask_own_policy "$@" ;;
esac
case " ${INFRA_RUNNING_SERVICES:-} " in *" $unit "*) ask_own_policy "$@" ;; esac
echo "$1" >>"$held"
exit 101

#!/bin/sh
# rejoin RESOLVER < roots.pem
#
# Makes a server of the lab ask the lab's resolver and trust the lab's authorities. Where these have
# changed, the certificates that the lab's ACME server gave are asked for anew: that server forgets
# its accounts and its root certificate when it ends.
#
# It is silent where nothing has changed.
set -u
export LC_ALL=C
umask 022

acme=https://acme.lab.internal:14000/dir
letsencrypt=/etc/letsencrypt
accounts=$letsencrypt/accounts/acme.lab.internal:14000
trusted=/usr/local/share/ca-certificates
# The roots with which all of this was done.
joined=/var/lib/lab-internet/joined.pem

fail() {
    echo "rejoin: $1" >&2
    exit 1
}

# Runs a program, and shows its output only if it fails.
quietly() {
    timeout -k 5 180 "$@" >"$work/output" 2>&1 && return 0
    cat "$work/output" >&2
    return 1
}

ask_resolver() {
    case $1 in
        '' | *[!0-9.]*) fail "not an address: \`$1\`" ;;
    esac
    [ "$(cat /etc/resolv.conf 2>/dev/null)" = "nameserver $1" ] && return
    # It may be a link to a file that another resolver writes.
    echo "nameserver $1" >/etc/resolv.conf.new && mv -f /etc/resolv.conf.new /etc/resolv.conf ||
        fail 'cannot write `/etc/resolv.conf`'
}

# One file for each root: update-ca-certificates takes the first certificate of a file only. A new
# root gets a new name, because links by the name of its subject are made for new names only.
trust() {
    awk -v folder="$work" '
        /^-----BEGIN CERTIFICATE-----$/ { file = folder "/" ++count ".root" }
        file { print > file }
        /^-----END CERTIFICATE-----$/ { close(file); file = "" }
    ' "$work/roots.pem"
    mkdir -p "$trusted" || fail "cannot make \`$trusted\`"
    wanted=' '
    for root in "$work"/*.root; do
        print=$(openssl x509 -in "$root" -noout -fingerprint -sha256 2>/dev/null) || fail 'standard input holds no certificates'
        name=lab-internet-$(echo "${print#*=}" | tr -d : | cut -c 1-16)
        wanted="$wanted$name "
        [ -e "$trusted/$name.crt" ] || openssl x509 -in "$root" -out "$trusted/$name.crt" || fail "cannot write \`$trusted/$name.crt\`"
    done
    for file in "$trusted"/lab-internet-*.crt; do
        name=$(basename "$file" .crt)
        case $wanted in
            *" $name "*) ;;
            *) rm -f "$file" "/etc/ssl/certs/$name.pem" ;;
        esac
    done
    quietly update-ca-certificates || fail 'the roots of the lab are not trusted'
}

# The accounts and certificates of other ACME servers stay as they are.
reissue() {
    lineages=$(grep -lsxF "server = $acme" "$letsencrypt"/renewal/*.conf)
    rm -rf "$accounts"
    [ -n "$lineages" ] || return 0
    # The web server answers the challenges.
    timeout 60 systemctl is-system-running --wait >/dev/null 2>&1
    quietly certbot register --non-interactive --agree-tos --register-unsafely-without-email --server "$acme" ||
        fail 'the ACME server of the lab takes no account'
    account=$(ls "$accounts/dir") || fail 'certbot has kept no account'
    sed -i "s/^account = .*/account = $account/" $lineages || fail "cannot write \`$letsencrypt/renewal\`"
    # One run for all is the fastest, where no other certificate would be renewed with them.
    if [ "$lineages" = "$(ls "$letsencrypt"/renewal/*.conf)" ]; then
        renew || fail 'not every certificate was made anew'
        return
    fi
    failed=
    for lineage in $lineages; do
        name=$(basename "$lineage" .conf)
        renew --cert-name "$name" || failed="$failed $name"
    done
    [ -z "$failed" ] || fail "no new certificate for$failed"
}

renew() {
    quietly certbot renew --non-interactive --quiet --force-renewal --no-random-sleep-on-renew "$@"
}

work=$(mktemp -d) || fail 'cannot make a temporary folder'
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

ask_resolver "${1-}"
head -c 65536 >"$work/roots.pem"
cmp -s "$work/roots.pem" "$joined" && exit 0
trust
reissue
mkdir -p "${joined%/*}" && cp "$work/roots.pem" "$joined.new" && mv "$joined.new" "$joined" ||
    fail "cannot write \`$joined\`"

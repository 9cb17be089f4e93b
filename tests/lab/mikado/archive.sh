# Makes an archive of packages under the names of Docker's own in /srv/archive, out of Debian's, and
# prints the key that signs it. Runs on the server.
set -e
export DEBIAN_FRONTEND=noninteractive GNUPGHOME=/root/archive-key
apt-get install -y -qq gpg gpg-agent > /dev/null
pool=/srv/archive/pool
rm -rf /srv/archive "$GNUPGHOME"
mkdir -p "$pool" /srv/archive/dists/trixie/stable/binary-amd64
mkdir -m 700 "$GNUPGHOME"
cd "$(mktemp -d)"
apt-get download -qq docker.io docker-cli docker-compose
# renamed FROM TO DEPENDS: FROM as TO, which takes the place of FROM.
renamed() {
    dpkg-deb -R "$1"_*.deb "$2"
    sed -i -e "s/^Package: .*/Package: $2/" -e '/^\(Recommends\|Suggests\|Breaks\|Replaces\|Conflicts\|Provides\|Source\):/d' \
        -e "s/^Depends: .*/Depends: $3/" -e "s/^Version: .*/Version: 99:1/" "$2/DEBIAN/control"
    sed -i "/^Package:/a Conflicts: $1\nReplaces: $1" "$2/DEBIAN/control"
    dpkg-deb -Zgzip -z1 -b "$2" "$pool/$2.deb" > /dev/null
}
renamed docker.io docker-ce 'containerd.io, docker-ce-cli, iptables'
renamed docker-cli docker-ce-cli libc6
renamed docker-compose docker-compose-plugin docker-ce-cli
mkdir -p containerd.io/DEBIAN
printf '%s\n' 'Package: containerd.io' 'Version: 99:1' 'Architecture: amd64' 'Maintainer: nobody <nobody@localhost>' \
    'Depends: containerd, runc, tini' 'Description: a stand-in' > containerd.io/DEBIAN/control
dpkg-deb -Zgzip -b containerd.io "$pool/containerd.io.deb" > /dev/null
cd /srv/archive
for package in pool/*.deb; do
    dpkg-deb -f "$package"
    printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$package" "$(stat -c %s "$package")" "$(sha256sum "$package" | cut -d ' ' -f 1)"
done > dists/trixie/stable/binary-amd64/Packages
cd dists/trixie
packages=stable/binary-amd64/Packages
printf '%s\n' 'Origin: stand-in' 'Suite: trixie' 'Codename: trixie' 'Architectures: amd64' 'Components: stable' \
    "Date: $(LC_ALL=C date -Ru)" 'SHA256:' " $(sha256sum $packages | cut -d ' ' -f 1) $(stat -c %s $packages) $packages" > Release
gpg --quiet --batch --pinentry-mode loopback --passphrase '' --quick-generate-key 'stand-in <nobody@localhost>' rsa3072 sign never
gpg --quiet --batch --clearsign --output InRelease Release
gpg --armor --export

#!/usr/bin/env bash
# An apt repository of the packages in dist/: systemd/build-repo.sh   (`make repo`; any web server can serve build/repo)
# One suite for each release that has a package (bookworm, trixie, jammy, noble), since a package is bound to its Python.
# GPG_KEY (an id or address of gpg's keyring) signs; without it apt must be told [trusted=yes].
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'make repo failed: %s\n' "$*" >&2; exit 1; }
for program in dpkg-scanpackages apt-ftparchive; do
    command -v $program >/dev/null || fail "$program is missing — apt install dpkg-dev apt-utils"
done
[ -z "${GPG_KEY:-}" ] || gpg --batch --list-secret-keys "$GPG_KEY" >/dev/null 2>&1 ||
    fail "gpg has no secret key $GPG_KEY — gpg --list-secret-keys shows those it has"

repo=$PWD/build/repo
rm -rf "$repo"
declare -A suites=([debian12]=bookworm [debian13]=trixie [ubuntu22.04]=jammy [ubuntu24.04]=noble)
made=()
for package in dist/shadowd_*+*_*.deb; do
    [ -e "$package" ] || fail "dist/ has no package — make debs"
    release=$(dpkg-deb -f "$package" Version)
    release=${release##*+}
    suite=${suites[$release]:-}
    [ -n "$suite" ] || fail "$package is for $release, which is no release known here"
    pool=pool/$suite/main/s/shadowd
    mkdir -p "$repo/$pool"
    cp "$package" "$repo/$pool/"
    [[ " ${made[*]-} " == *" $suite "* ]] || made+=("$suite")
done

cd "$repo"
for suite in "${made[@]}"; do
    architectures=()
    for architecture in $(for one in pool/"$suite"/main/s/shadowd/*.deb; do dpkg-deb -f "$one" Architecture; done | sort -u); do
        folder=dists/$suite/main/binary-$architecture
        mkdir -p "$folder"
        dpkg-scanpackages --multiversion --arch "$architecture" "pool/$suite" 2>/dev/null >"$folder/Packages"
        gzip -9nk "$folder/Packages"
        architectures+=("$architecture")
    done
    apt-ftparchive -o APT::FTPArchive::Release::Origin=shadowd -o APT::FTPArchive::Release::Label=shadowd \
        -o "APT::FTPArchive::Release::Suite=$suite" -o "APT::FTPArchive::Release::Codename=$suite" \
        -o "APT::FTPArchive::Release::Architectures=${architectures[*]}" \
        -o APT::FTPArchive::Release::Components=main release "dists/$suite" >Release
    mv Release "dists/$suite/Release"
    if [ -n "${GPG_KEY:-}" ]; then
        gpg --batch --yes --local-user "$GPG_KEY" --clearsign -o "dists/$suite/InRelease" "dists/$suite/Release"
        gpg --batch --yes --local-user "$GPG_KEY" --armor --detach-sign -o "dists/$suite/Release.gpg" "dists/$suite/Release"
    fi
done
trust="[trusted=yes]"
if [ -n "${GPG_KEY:-}" ]; then
    gpg --batch --export "$GPG_KEY" >shadowd-archive-keyring.gpg
    trust="[signed-by=$repo/shadowd-archive-keyring.gpg]"
fi
printf 'build/repo: %s\n' "${made[*]}"
printf '    deb %s file:%s %s main\n' "$trust" "$repo" "${made[0]}"

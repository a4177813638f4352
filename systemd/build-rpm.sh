#!/usr/bin/env bash
# An rpm for RHEL 9 and its like, from the files of the package for Debian 12: systemd/build-rpm.sh   (`make rpm`)
# Both have Python 3.11, and libraries in wheels fit either; our own ask for nothing newer than rpm's "Requires" tell.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'make rpm failed: %s\n' "$*" >&2; exit 1; }
command -v rpmbuild >/dev/null || fail "rpmbuild is missing — apt install rpm, or dnf install rpm-build"
command -v dpkg-deb >/dev/null || fail "dpkg-deb is missing — apt install dpkg, or dnf install dpkg"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
packages=(dist/shadowd_"$version"+debian12_*.deb)
[ -f "${packages[0]}" ] || fail "there is no package for Debian 12 in dist/ — make deb there, or make debs RELEASES=bookworm"

work=$PWD/build/rpm
root=$work/root
for package in "${packages[@]}"; do
    architecture=$(dpkg-deb -f "$package" Architecture)
    case $architecture in amd64) target=x86_64 ;; arm64) target=aarch64 ;; *) fail "no rpm is made for $architecture" ;; esac
    rm -rf "$work"
    mkdir -p "$work"
    dpkg-deb -x "$package" "$root"
    python=$(basename "$root"/usr/lib/shadowd/lib/python3.*)
    # an rpm carries its byte code, where Debian compiles at installation
    command -v "$python" >/dev/null || fail "$python is missing here: byte code is made by it"
    "$python" -I -m compileall -q --invalidation-mode unchecked-hash -s "$root" "$root/usr/lib/shadowd/lib/$python/site-packages"
    # where Debian has other places: units, zsh's functions, the name of the interpreter
    [ ! -d "$root/lib/systemd" ] || { mkdir -p "$root/usr/lib/systemd" && mv "$root"/lib/systemd/system "$root/usr/lib/systemd/"; }
    rm -rf "$root/lib" "$root/usr/share/lintian"
    mv "$root/usr/share/zsh/vendor-completions" "$root/usr/share/zsh/site-functions"
    rm -f "$root"/usr/share/doc/shadowd/{changelog.Debian.gz,copyright}
    cp LICENSE "$root/usr/lib/shadowd/LICENSE"
    for name in python python3 "$python"; do rm -f "$root/usr/lib/shadowd/bin/$name"; done
    ln -s "/usr/bin/$python" "$root/usr/lib/shadowd/bin/$python"
    ln -s "$python" "$root/usr/lib/shadowd/bin/python3"
    if ! SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)} \
        rpmbuild -bb --quiet --target "$target" --define "_topdir $work" --define "_rpmdir $work" --define "root $root" \
        --define "version $version" --define "abi ${python#python}" --define "_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm" \
        --define "_build_id_links none" --define "use_source_date_epoch_as_buildtime 1" systemd/shadowd.spec >"$work/log" 2>&1; then
        tail -n 15 "$work/log" >&2
        fail "see build/rpm/log"
    fi
    rm -rf "$root" "$work"/BUILD*
    mv "$work"/shadowd-*.rpm dist/
done
ls dist/shadowd-"$version"-*.rpm

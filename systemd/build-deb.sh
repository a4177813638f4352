#!/usr/bin/env bash
# Builds dist/shadowd_VERSION_ARCH.deb for this release of Debian or Ubuntu: systemd/build-deb.sh [--no-install]
# The version names the release ("0.2.0+debian12"), for the package is bound to its Python. --no-install fails instead of
# installing what building needs. For other releases, in chroots: systemd/chroots.py (`make debs`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'make deb failed: %s\n' "$*" >&2; exit 1; }

command -v dpkg-query >/dev/null || fail "this is no Debian or Ubuntu — use make install"
# The release's own python3; Ubuntu 22.04 has 3.11 beside it, in universe.
python=python3
offered=$(apt-cache show --no-all-versions python3 2>/dev/null | sed -n 's/^Version: //p')
if dpkg --compare-versions "${offered:-0}" lt 3.11; then python=python3.11; fi
missing=()
for name in dpkg-dev debhelper gcc libc6-dev binutils "$python" "$python-venv" "$python-dev"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
done
if [ ${#missing[@]} -gt 0 ]; then
    [ "${1:-}" != --no-install ] && [ "$(id -u)" = 0 ] || fail "missing: ${missing[*]} — apt install ${missing[*]}"
    printf 'make deb: installing %s\n' "${missing[*]}"
    apt-get -o DPkg::Lock::Timeout=120 update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -q -y --no-install-recommends \
        "${missing[@]}" >/dev/null
fi
export PYTHON=/usr/bin/$python
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "this release has no Python 3.11 or newer — build on Debian 12, Ubuntu 22.04 or later, or use make install"
[ -f bpf/shadowd.bytecode ] || fail "bpf/shadowd.bytecode is missing — make bpf-bytecode"

release=$(. /etc/os-release && printf '%s%s' "$ID" "$VERSION_ID")
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
[ -n "$version" ] || fail "no version in pyproject.toml"
version=$version+$release

out=$PWD/build/deb
source=$out/source
rm -rf "$out"
mkdir -p "$source" dist
cp -R pyproject.toml setup.py README.md LICENSE CHANGELOG.md docs shadowd bpf systemd "$source"
find "$source" -name __pycache__ -prune -exec rm -rf {} +
mv "$source/systemd/debian" "$source/debian"
chmod +x "$source/debian/rules"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
# dpkg wants a changelog of its own form; what changed is in CHANGELOG.md
printf 'shadowd (%s) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' "$version" \
    "$(sed -n 's/^Maintainer: //p' "$source/debian/control")" "$(date -R -d "@$SOURCE_DATE_EPOCH")" \
    >"$source/debian/changelog"
cd "$source"
if ! dpkg-buildpackage -b -d -us -uc >"$out/build.log" 2>&1; then
    tail -n 15 "$out/build.log" >&2
    fail "see build/deb/build.log"
fi
cd ../../..
name=shadowd_${version}_$(dpkg --print-architecture)
mv "$out/$name.deb" dist/
"$PYTHON" -I -B systemd/sbom.py "$source"/debian/shadowd/usr/lib/shadowd/lib/python3*/site-packages >"dist/$name.cdx.json"
rm -rf "$source" "$out"/*.buildinfo "$out"/*.changes
printf '%s\n' "$PWD/dist/$name.deb"

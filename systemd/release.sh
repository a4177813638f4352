#!/usr/bin/env bash
# What a release hands out: checksums of all that is in dist/, and signatures: systemd/release.sh   (`make release`)
# Every artefact must be of this version. GPG_KEY signs each of them and the checksums; without it nothing is signed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'make release failed: %s\n' "$*" >&2; exit 1; }
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
grep -q "^## \[$version\] — " CHANGELOG.md || fail "CHANGELOG.md has no section [$version] — cut it first"
[ -z "${GPG_KEY:-}" ] || gpg --batch --list-secret-keys "$GPG_KEY" >/dev/null 2>&1 ||
    fail "gpg has no secret key $GPG_KEY — gpg --list-secret-keys shows those it has"

cd dist 2>/dev/null || fail "there is no dist/ — make wheel debs rpm"
rm -f SHA256SUMS ./*.asc
shopt -s nullglob
artefacts=(*.whl *.tar.gz *.deb *.rpm *.cdx.json)
[ ${#artefacts[@]} -gt 0 ] || fail "dist/ is empty — make wheel debs rpm"
boms=(*.cdx.json)
[ ${#boms[@]} -gt 0 ] || fail "dist/ has no bill of materials (*.cdx.json) — make debs, or make deb"
for name in "${artefacts[@]}"; do
    case $name in
    shadowd[-_]"$version"[-+_.]*) ;;
    *) fail "dist/$name is not of version $version — remove it" ;;
    esac
done
# the changes of this version alone, for the page of the release
awk -v head="## [$version]" 'index($0, head) == 1 { on = 1; next } /^## / { on = 0 } on' ../CHANGELOG.md >RELEASE_NOTES.md
sha256sum "${artefacts[@]}" RELEASE_NOTES.md >SHA256SUMS
if [ -n "${GPG_KEY:-}" ]; then
    for name in "${artefacts[@]}" SHA256SUMS; do
        gpg --batch --yes --local-user "$GPG_KEY" --armor --detach-sign "$name"
    done
fi
printf 'dist/: %d artefacts of %s, SHA256SUMS%s\n' ${#artefacts[@]} "$version" "${GPG_KEY:+, signed by $GPG_KEY}"

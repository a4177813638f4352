#!/usr/bin/env bash
# Tags this commit as the version that it names: systemd/tag.sh   (`make tag`). GPG_KEY signs the tag. Nothing is pushed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'make tag failed: %s\n' "$*" >&2; exit 1; }
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
grep -q "^__version__ = \"$version\"$" shadowd/__init__.py || fail "shadowd/__init__.py is of another version than pyproject.toml"
grep -q "^## \[$version\] — " CHANGELOG.md || fail "CHANGELOG.md has no section [$version] — cut it first"
[ -z "$(git status --porcelain)" ] || fail "there are changes that are not committed — git status"
! git rev-parse -q --verify "refs/tags/v$version" >/dev/null || fail "v$version is there already — git show v$version"
if [ -n "${GPG_KEY:-}" ]; then
    git tag --local-user "$GPG_KEY" --message "shadowd $version" "v$version"
else
    git tag --annotate --message "shadowd $version" "v$version"
fi
printf 'v%s; git push --follow-tags publishes it\n' "$version"

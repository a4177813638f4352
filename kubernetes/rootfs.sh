#!/usr/bin/env bash
# Assembles the root file system of the container image in DEST, from this machine's Debian packages and PyPI.
#
#   kubernetes/rootfs.sh DEST          (Containerfile; tests/kubernetes; DEST must not exist yet)
#
# What is in it, and nothing else: the files of the packages below (CPython and the libraries it needs), the Python
# packages of pyproject.toml, shadowd, the prebuilt bytecode. No shell, no package manager, no compiler, no bcc.
# Needs Debian's python3 with pip or venv, and bpf/shadowd.bytecode (`make bpf-bytecode`). No privilege.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'rootfs failed: %s\n' "$*" >&2; exit 1; }

[ $# = 1 ] || fail "give the folder to make: kubernetes/rootfs.sh DEST"
dest=$1
[ ! -e "$dest" ] || fail "$dest exists already — give another folder or remove it"
[ -f bpf/shadowd.bytecode ] || fail "bpf/shadowd.bytecode is missing — make bpf-bytecode"
python=/usr/bin/python3
[ -x $python ] || fail "Debian's python3 is missing — apt-get install python3 python3-venv"
version=$($python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python $version is too old — use Debian 12 or later"

# --- Debian's files --------------------------------------------------------------------------------------------------
packages=(
    "python$version-minimal" "libpython$version-minimal" "libpython$version-stdlib"
    libc6 libgcc-s1 libstdc++6 # the interpreter's, and the compiled Python packages'
    zlib1g libexpat1 libffi8   # zlib, pyexpat (python itself), ctypes
    "libssl3t64|libssl3"       # ssl: targets by https
    libsqlite3-0               # the store
    "libuuid1" liblzma5 libbz2-1.0
    ca-certificates tzdata # trust in targets' certificates; zoneinfo
)
list=$(mktemp)
trap 'rm -f "$list"' EXIT
for wanted in "${packages[@]}"; do
    found=""
    for name in ${wanted//|/ }; do
        # the database names the architecture of libraries that may be there twice
        for known in "$name" "$name:$(dpkg --print-architecture)"; do
            if [ -z "$found" ] && dpkg-query -L "$known" >>"$list" 2>/dev/null; then found=$known; fi
        done
    done
    [ -n "$found" ] || fail "the package ${wanted//|/ or } is not installed here — apt-get install it"
done

mkdir -p "$dest"/{usr/{bin,sbin,lib,lib64},etc/{shadowd,ssl/certs},run/shadowd,var/lib/shadowd,tmp,proc,sys/fs/cgroup,dev}
chmod 1777 "$dest/tmp"
for merged in bin sbin lib lib64; do ln -s "usr/$merged" "$dest/$merged"; done

# Debian's database still says /lib where the file is in /usr/lib. Documentation and files a slim image left out: no.
sed -E 's#^/(lib|lib64|bin|sbin)/#/usr/\1/#' "$list" | sort -u |
    grep -vE '^/usr/sbin/|^/usr/share/(doc|man|lintian|locale|bug|menu|applications|pixmaps|binfmts|zoneinfo/(right|posix))(/|$)|^/usr/share/ca-certificates' |
    while IFS= read -r path; do
        if [ -L "$path" ] || [ -f "$path" ]; then printf '%s\n' "${path#/}"; fi
    done >"$list.files"
tar -C / --no-recursion -cf - -T "$list.files" | tar -C "$dest" -xf -
rm -f "$list.files"
ln -sf "python$version" "$dest/usr/bin/python3"
cp /etc/ssl/certs/ca-certificates.crt "$dest/etc/ssl/certs/"

printf 'root:x:0:0:root:/:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n' >"$dest/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$dest/etc/group"
printf 'hosts: files dns\n' >"$dest/etc/nsswitch.conf"

# --- shadowd and its Python packages ---------------------------------------------------------------------------------
site=/usr/lib/shadowd
work=$(mktemp -d)
trap 'rm -rf "$list" "$work"' EXIT
pip=($python -m pip)
if ! "${pip[@]}" --version >/dev/null 2>&1; then
    $python -m venv "$work/venv" || fail "there is neither pip nor venv for $python — apt-get install python3-venv"
    pip=("$work/venv/bin/python" -m pip)
fi
# a copy: building leaves folders beside the sources
mkdir "$work/source"
cp -r pyproject.toml setup.py README.md LICENSE bpf shadowd "$work/source/"
SHADOWD_BYTECODE=required "${pip[@]}" install -qq --disable-pip-version-check --root-user-action=ignore --no-compile --no-warn-script-location \
    --target "$dest$site" "$work/source" || fail "pip could not install the Python packages — is this machine offline?"
rm -rf "${dest:?}$site/bin"
# Some wheels carry 25 MB of debugging symbols.
if command -v strip >/dev/null; then find "$dest$site" -name '*.so' -exec strip --strip-unneeded {} +; fi
for command in shadowd shadowctl; do
    cat >"$dest/usr/bin/$command" <<END
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "$site")
from shadowd.cli.$command import main

main()
END
    chmod 755 "$dest/usr/bin/$command"
done
rm -rf "$dest$site"/shadowd/bpf/{*.c,*.h,include} # there is nothing to compile them with
install -D -m 644 LICENSE "$dest/usr/share/shadowd/LICENSE"

# The root is read-only at run time, so bytecode caches are made now; they are valid whatever the files' times.
$python -I -m compileall -q -s "$dest" -p / --invalidation-mode unchecked-hash "$dest$site" "$dest/usr/lib/python$version" ||
    fail "a Python file could not be compiled"
printf '%s: %s\n' "$dest" "$(du -sh "$dest" | cut -f1)"

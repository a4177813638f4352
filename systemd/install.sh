#!/usr/bin/env bash
# Installs shadowd: an environment of its own, links, the unit, the user, the configuration. Or takes it away again.
#   systemd/install.sh install|uninstall      (`make install`, `make uninstall`; debian/rules uses it too)
# PREFIX (/usr/local), DESTDIR (for packages: nothing outside of it is touched, no user is made), PYTHON (>= 3.11; any
# user must be able to run it, so the distribution's is preferred), SYSCONFDIR (/etc), UNITDIR, SYSUSERSDIR,
# COMPILE=no (a package's scripts compile the modules where they are installed).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}
SYSCONFDIR=${SYSCONFDIR:-/etc}
UNITDIR=${UNITDIR:-$PREFIX/lib/systemd/system}
SYSUSERSDIR=${SYSUSERSDIR:-$PREFIX/lib/sysusers.d}
COMPILE=${COMPILE:-yes}
home=$PREFIX/lib/shadowd # the environment as the daemon will see it

say() { printf 'shadowd: %s\n' "$*"; }
fail() { printf 'installation failed: %s\n' "$*" >&2; exit 1; }

case $PREFIX in /*) ;; *) fail "PREFIX=$PREFIX is not an absolute path" ;; esac
[ -n "$DESTDIR" ] || [ "$(id -u)" = 0 ] || fail "root is needed — run: sudo make ${1:-install}, or give DESTDIR="

find_python() {
    local name
    for name in "${PYTHON:-}" /usr/bin/python3 /usr/bin/python3.1[1-9] /usr/local/bin/python3; do
        if [ -x "$name" ] && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$name
            return
        fi
        [ -z "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is not a working Python 3.11 or newer"
    done
    fail "no Python 3.11 or newer in /usr/bin or /usr/local/bin — install one, or give PYTHON=/path/to/python3"
}

# The environment at $DESTDIR$home, made as if it stood at $home: no file in it names the place where it was built.
make_environment() {
    local place=$DESTDIR$home version
    build=$(mktemp -d)
    trap 'rm -rf "$build"' EXIT
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python has no venv — apt install python3-venv, or give another PYTHON="
    "$python" -m venv "$build/pip"
    # --python is of pip 22.3; Ubuntu 22.04's is older
    "$build/pip/bin/pip" --python "$python" --version >/dev/null 2>&1 ||
        "$build/pip/bin/pip" install -q --disable-pip-version-check --upgrade pip >"$build/log" 2>&1 ||
        fail "pip could not renew itself — is this machine offline?"
    # what pip builds from is a copy: it leaves folders of its own in a source tree
    mkdir "$build/source"
    cp -R pyproject.toml setup.py README.md LICENSE bpf shadowd "$build/source"
    rm -rf "$place"
    "$python" -m venv --without-pip "$place"
    if ! "$build/pip/bin/pip" --python "$place/bin/python" install --disable-pip-version-check \
        --no-warn-script-location --no-compile "$build/source" >"$build/log" 2>&1; then
        tail -n 5 "$build/log" | sed 's/^/    /' >&2
        fail "pip could not install the Python packages — is this machine offline?"
    fi

    find "$place/bin" -mindepth 1 ! -name 'python*' ! -name shadowd ! -name shadowctl -delete
    sed -i "1s|^#!.*|#!$home/bin/python3|" "$place/bin/shadowd" "$place/bin/shadowctl"
    sed -i '/^command = /d' "$place/pyvenv.cfg"
    rm -f "$place/.gitignore" # Python 3.13 makes one
    # where the project was built from, and checksums of scripts that were changed or left out
    rm "$place"/lib/python3*/site-packages/shadowd-*.dist-info/direct_url.json
    sed -i -e '/direct_url\.json,/d' -e '/^\.\.\/\.\.\/\.\.\/bin\//d' "$place"/lib/python3*/site-packages/*.dist-info/RECORD
    # of libraries: tests, as large as the rest; what compiling or checking types reads; what a debugger would
    find "$place/lib" -type d \( -name tests -o -name _tests \) -path '*/site-packages/*' -prune -exec rm -rf {} +
    find "$place/lib" -path '*/site-packages/*' ! -path '*/site-packages/shadowd/*' -type f \
        \( -name '*.py[xi]' -o -name '*.pxd' -o -name '*.[ch]' \) -delete
    # and what nothing loads: a highlighter's languages, what cryptography was compiled by
    find "$place"/lib/python3*/site-packages/pygments/lexers -name '*.py' ! -name '_mapping.py' ! -name '__init__.py' \
        ! -name special.py -delete
    rm -rf "$place"/lib/python3*/site-packages/{cffi,pycparser,pycparser-*.dist-info}
    if command -v strip >/dev/null; then
        find "$place/lib" -type f \( -name '*.so' -o -name '*.so.*' \) -exec strip --strip-unneeded -R .comment {} +
    fi
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    # compiled here, so that nothing is written there later; the checks by time would fail on packed files
    [ "$COMPILE" = no ] ||
        "$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$DESTDIR" "$place/lib/$version/site-packages"

    install -d "$place/share/shadowd"
    ln -s "../../lib/$version/site-packages/shadowd/bpf" "$place/share/shadowd/bpf" # for people: its sources, its license
    find "$place" -type d -exec chmod 755 {} +
    chmod -R a+rX,go-w "$place"
}

complete() { # the shells' completions of a command, by typer
    local shell=$1 command=$2 file=$3
    install -d "$(dirname "$DESTDIR$file")"
    "$DESTDIR$home/bin/python3" -B -c "
from typer.completion import get_completion_script
print(get_completion_script(prog_name='$command', complete_var='_${command^^}_COMPLETE', shell='$shell'))" \
        >"$DESTDIR$file"
}

document() { # pages for man, completion, and all that is in docs/
    local doc=$DESTDIR$PREFIX/share/doc/shadowd command
    rm -rf "$doc"
    install -d "$doc"
    cp -R docs/. README.md CHANGELOG.md LICENSE "$doc/"
    find "$doc" -type d -exec chmod 755 {} + -o -type f -exec chmod 644 {} +
    "$DESTDIR$home/bin/python3" -B systemd/manpages.py "$DESTDIR$PREFIX/share/man"
    for command in shadowd shadowctl; do
        complete bash "$command" "$PREFIX/share/bash-completion/completions/$command"
        complete zsh "$command" "$PREFIX/share/zsh/vendor-completions/_$command"
        complete fish "$command" "$PREFIX/share/fish/vendor_completions.d/$command.fish"
    done
}

install_all() {
    find_python
    make_environment
    install -d "$DESTDIR$PREFIX/bin" "$DESTDIR$UNITDIR" "$DESTDIR$SYSUSERSDIR"
    ln -sfn ../lib/shadowd/bin/shadowd "$DESTDIR$PREFIX/bin/shadowd"
    ln -sfn ../lib/shadowd/bin/shadowctl "$DESTDIR$PREFIX/bin/shadowctl"
    sed "s|/usr/bin/shadow|$PREFIX/bin/shadow|; s|/usr/share/doc|$PREFIX/share/doc|" systemd/shadowd.service \
        >"$DESTDIR$UNITDIR/shadowd.service"
    sed "s|/usr/bin/shadow|$PREFIX/bin/shadow|; s|/usr/share/doc|$PREFIX/share/doc|" systemd/shadowd-tls.service \
        >"$DESTDIR$UNITDIR/shadowd-tls.service"
    install -m 644 systemd/shadowd.sysusers "$DESTDIR$SYSUSERSDIR/shadowd.conf"
    chmod 644 "$DESTDIR$UNITDIR"/shadowd{,-tls}.service "$DESTDIR$SYSUSERSDIR/shadowd.conf"
    document
    install -d "$DESTDIR$SYSCONFDIR/shadowd/conf.d"
    if [ -e "$DESTDIR$SYSCONFDIR/shadowd/shadowd.toml" ]; then
        say "$SYSCONFDIR/shadowd/shadowd.toml is kept as it is"
    else
        install -m 640 systemd/shadowd.toml "$DESTDIR$SYSCONFDIR/shadowd/shadowd.toml"
    fi
    [ -z "$DESTDIR" ] || return 0

    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers "$SYSUSERSDIR/shadowd.conf"
    elif ! getent passwd shadowd >/dev/null; then
        useradd --system --user-group --no-create-home --home-dir /var/lib/shadowd --shell /usr/sbin/nologin shadowd
    fi
    chgrp shadowd "$SYSCONFDIR/shadowd/shadowd.toml"
    [ -e "$home/share/shadowd/bpf/shadowd.bytecode" ] ||
        "$home/bin/python3" -c 'from shadowd.capture.preflight import find_bcc_python; find_bcc_python()' 2>/dev/null ||
        say "bcc's Python binding is missing: apt install python3-bpfcc (or dnf install python3-bcc)"
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        say "installed; start it with: systemctl enable --now shadowd"
    else
        say "installed; start it with: $PREFIX/bin/shadowd run --config $SYSCONFDIR/shadowd/shadowd.toml"
    fi
}

# The configuration, the state and the user stay: they are the operator's. It says how to remove them.
uninstall_all() {
    if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
        systemctl disable --now shadowd-tls.service shadowd.service 2>/dev/null || true
    fi
    rm -rf "$DESTDIR$home" "$DESTDIR$PREFIX/share/doc/shadowd"
    rm -f "$DESTDIR$PREFIX/bin/shadowd" "$DESTDIR$PREFIX/bin/shadowctl" "$DESTDIR$UNITDIR"/shadowd{,-tls}.service \
        "$DESTDIR$SYSUSERSDIR/shadowd.conf" "$DESTDIR$PREFIX/share/bash-completion/completions"/{shadowd,shadowctl} \
        "$DESTDIR$PREFIX/share/zsh/vendor-completions"/_{shadowd,shadowctl} \
        "$DESTDIR$PREFIX/share/fish/vendor_completions.d"/{shadowd,shadowctl}.fish \
        "$DESTDIR$PREFIX/share/man"/man1/shadowctl{,-*}.1 "$DESTDIR$PREFIX/share/man"/man{5/shadowd.toml.5,8/shadowd.8}
    [ -z "$DESTDIR" ] || return 0
    if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
    say "removed; kept: $SYSCONFDIR/shadowd, /var/lib/shadowd, the user shadowd" \
        "(rm -r $SYSCONFDIR/shadowd /var/lib/shadowd; userdel shadowd)"
}

case ${1:-} in
install) install_all ;;
uninstall) uninstall_all ;;
*) fail "say install or uninstall" ;;
esac

#!/usr/bin/env bash
# What each machine of the lab does: vagrant/lab.sh client|production|shadow PRODUCTION-IP SHADOW-IP
# production and shadow serve the same shop by nginx, the shadow with one wrong price; on production shadowd mirrors.
set -euo pipefail
role=$1 production=$2 shadow=$3
export DEBIAN_FRONTEND=noninteractive

shop() { # price of the fifth item
    apt-get install -q -y --no-install-recommends nginx-light >/dev/null
    mkdir -p /var/www/html/items
    for item in 1 2 3 4 5 6 7 8; do
        price=$((item * 100))
        [ "$item" != 5 ] || price=$1
        printf '{"id": %d, "price_cents": %d}\n' "$item" "$price" >"/var/www/html/items/$item.json"
    done
}

case $role in
shadow)
    shop 501
    ;;
production)
    shop 500
    apt-get install -q -y --no-install-recommends make >/dev/null
    make -C /shadowd install >/dev/null
    systemctl enable --now shadowd
    shadowctl filter rm shop 2>/dev/null || true
    shadowctl filter add shop --port 80 --to "http://$shadow"
    echo "mirroring to $shadow; look at it: vagrant ssh production -c 'sudo shadowctl status'"
    ;;
client)
    command -v curl >/dev/null || apt-get install -q -y --no-install-recommends curl >/dev/null
    for _ in $(seq 500); do
        curl -sf -o /dev/null "http://$production/items/[1-8].json"
    done
    echo "4,000 requests made; now: vagrant ssh production -c 'sudo shadowctl verdict shop'"
    ;;
*)
    echo "give client, production or shadow" >&2
    exit 2
    ;;
esac

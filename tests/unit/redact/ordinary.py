"""Bodies without secrets, as shops, papers, searches, clusters, monitors and logs send them: they stay as they are."""

# ruff: noqa: E501 — a line is what a system sends
from __future__ import annotations

import json
import random
from collections.abc import Iterator

WORDS = [
    "steel",
    "bolt",
    "galvanised",
    "pack",
    "order",
    "shipped",
    "account",
    "station",
    "window",
    "garden",
    "coffee",
    "morning",
    "review",
    "paper",
    "author",
    "token",
    "session",
    "password",
    "key",
    "code",
    "secret",
    "north",
    "harbour",
    "market",
    "invoice",
    "delivery",
    "customer",
    "release",
    "version",
    "login",
    "member",
]


def words(dice: random.Random, count: int) -> str:
    return " ".join(dice.choices(WORDS, k=count))


def hexed(dice: random.Random, count: int) -> str:
    return "".join(dice.choices("0123456789abcdef", k=count))


def uuid(dice: random.Random) -> str:
    return "-".join(hexed(dice, n) for n in (8, 4, 4, 4, 12))


def time(dice: random.Random) -> str:
    return (
        f"2026-{dice.randint(1, 12):02}-{dice.randint(1, 28):02}T{dice.randint(0, 23):02}:30:{dice.randint(0, 59):02}Z"
    )


def order(d: random.Random) -> object:
    return {
        "id": d.randint(1, 10**6), "number": f"A-{d.randint(10**5, 10**6)}", "status_code": "SHIPPED", "created_at": time(d),
        "customer": {"id": uuid(d), "name": "Eva Muster", "country_code": "DE", "postal_code": str(d.randint(10**4, 10**5)),
                     "language": "de-DE", "vip": False, "segment": "returning"},
        "items": [{"sku": f"BLT-{d.randint(100, 999)}-M8", "ean": f"40{d.randint(10**9, 10**10)}", "title": words(d, 3),
                   "quantity": d.randint(1, 9), "unit_price": "12.90", "tax_code": "DE19", "product_code": f"PB{d.randint(10, 99)}X4",
                   "image": f"https://cdn.shop.example/img/{d.randint(1, 999)}/bolt-m8_400x300.jpg?v=1732612345"} for _ in range(3)],
        "shipping": {"carrier": "dhl", "method": "standard", "estimated_days": 3, "weight": {"value": 1.25, "unit": "kg"},
                     "address": {"street": "Hauptstr. 12a", "zip": "10115", "city": "Berlin", "country": "DE"}},
        "payment": {"method": "invoice", "status": "paid", "currency": "EUR", "amount": d.randint(100, 99999)},
        "coupon": {"code": "SPRING25", "percent": 10}, "error_code": "E1042", "promo_code": "WINTER2026", "color_code": "#a1b2c3",
        "timeline": [{"event": "packed", "at": time(d), "by": "worker-7"}, {"event": "sent", "at": time(d), "by": "worker-3"}],
    }  # fmt: skip


def page(d: random.Random) -> object:
    return {
        "slug": f"how-we-moved-{d.randint(2, 99)}-servers", "title": words(d, 6).title(), "key": f"page.home.hero{d.randint(1, 9)}",
        "body": ". ".join(words(d, 9).capitalize() for _ in range(6)) + ".", "cacheKey": f"page:{d.randint(1, 999)}:v3",
        "author": {"name": "J. Doe", "handle": f"jdoe{d.randint(10, 99)}", "avatar": "/static/avatars/12.png"},
        "faq": [{"question": "How long does delivery take?", "answer": "Two to three working days. We tell you when it leaves."},
                {"question": "Do you ship abroad?", "answer": "Yes, to all of Europe."}],
        "blocks": [{"type": "paragraph", "key": f"b{n}", "text": words(d, 20)} for n in range(4)], "sort_key": "published_at",
        "seo": {"description": words(d, 11), "robots": "index,follow", "canonical": "https://paper.example/2026/11/how-we-moved"},
        "translation_key": "nav.login2.title", "revision": d.randint(1, 99), "updated": time(d), "tags": ["infra", "linux"],
        "next_cursor": None, "fields": ["title", "body"], "values": ["a", "b"], "embed_code": "youtube:dQw4w9WgXcQ",
    }  # fmt: skip


def results(d: random.Random) -> object:
    return {
        "took": 12, "timed_out": False, "_shards": {"total": 5, "successful": 5, "failed": 0},
        "hits": {"total": {"value": 993, "relation": "eq"}, "hits": [
            {"_index": "products-2026.11", "_id": str(d.randint(1, 10**6)), "_score": d.random() * 9,
             "_source": {"name": words(d, 3), "brand": "Acme", "rating": 4.5, "stock": 17, "category_code": f"C{d.randint(100, 999)}"},
             "highlight": {"name": [f"<em>{d.choice(WORDS)}</em> {words(d, 2)}"]}} for _ in range(5)]},
        "aggregations": {"brand": {"buckets": [{"key": name, "doc_count": d.randint(1, 99)} for name in ("Acme", "Bolt24", "M8")]}},
        "query": {"q": words(d, 2), "page": 2, "page_size": 20, "sort": "price_asc", "filter": "brand:acme"},
    }  # fmt: skip


def pod(d: random.Random) -> object:
    name = f"shop-7d9c{hexed(d, 6)}-x{hexed(d, 4)}"
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "prod", "uid": uuid(d), "resourceVersion": str(d.randint(10**6, 10**7)),
                     "labels": {"app": "shop", "pod-template-hash": hexed(d, 10), "app.kubernetes.io/version": "1.4.2"},
                     "creationTimestamp": time(d), "generateName": "shop-7d9c-"},
        "spec": {"nodeName": "node-3", "containers": [
            {"name": "web", "image": "registry.example/shop:1.4.2", "ports": [{"containerPort": 8080, "protocol": "TCP"}],
             "env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "PORT", "value": "8080"},
                     {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}],
             "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}}}],
                 "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
                 "serviceAccountName": "shop", "automountServiceAccountToken": False},
        "status": {"phase": "Running", "podIP": "10.1.2.3", "startTime": time(d), "qosClass": "Burstable"},
    }  # fmt: skip


def metrics(d: random.Random) -> str:
    return "".join(
        f'# HELP {name} {words(d, 5)}\n# TYPE {name} counter\n{name}{{method="GET",path="/items/{{id}}",status="200"}} {d.randint(1, 10**7)}\n'
        f'{name}{{method="POST",path="/login",status="401"}} {d.random() * 10**6:.3f}\n'
        for name in ("http_requests_total", "login_attempts_total", "token_refresh_seconds_sum", "cache_key_hits")
    )


def log(d: random.Random) -> str:
    worker, user, took = d.randint(1, 9), d.randint(10, 9999), d.randint(1, 900)
    return "".join(
        f"2026-11-26 10:0{n}:12,{took:03} {line}\n"
        for n, line in enumerate([
            f"INFO shop.orders worker-{worker} order {user} shipped to Berlin in {took}ms status=ok items=3",
            f"WARN shop.auth login failed for user {user}: wrong password (attempt 2 of 5)",
            f"INFO shop.auth token refreshed for user{user} from 10.0.0.{worker}:51234 in {took}ms",
            "ERROR shop.api unexpected token in JSON at position 17, see https://docs.example/errors/e1042",
            f"DEBUG shop.cache miss key=page:{user}:v3 ttl=300s size=12KB node=cache-{worker}",
            "INFO shop.jobs password reset mail queued as job-1187 (template reset_v2)",
            f"INFO nginx 10.0.0.{worker} \"GET /items/{user}?page=2&sort=price HTTP/1.1\" 200 {took} \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\"",
            f"INFO shop.keys rotated signing keys, version v{worker}, next rotation 2026-12-26T00:00:00Z",
            "INFO shop.sessions 1,204 sessions open, 17 expired, secret store at vault-2.internal:8200 reachable",
        ])
    )  # fmt: skip


def form(d: random.Random) -> str:
    return (
        f'<form action="/login" method="post"><label for="password">Password</label><input type="password" id="password"'
        f' name="password" placeholder="Your password"><a href="/account/reset">Forgot your password?</a></form>'
        f'<article id="post-{d.randint(1, 99)}" class="card card--wide"><h2>{words(d, 4)}</h2><p>{words(d, 30)}</p>'
        f'<img src="/img/a{d.randint(1, 999)}.webp" width="400" alt="{words(d, 2)}"><time datetime="{time(d)}">today</time></article>'
    )  # fmt: skip


def dump(d: random.Random) -> str:
    return "id,sku,title,stock,price,updated_at\n" + "".join(
        f"{d.randint(1, 999)},BLT-{d.randint(100, 999)}-M8,{words(d, 3)},{d.randint(0, 99)},12.90,{time(d)}\n" for _ in range(9)
    )  # fmt: skip


def settings(d: random.Random) -> str:
    return (
        f"server:\n  port: 8080\n  host: shop-{d.randint(1, 9)}.internal\n  timeout: 30s\ncache:\n  key_prefix: shop:v3\n  ttl: 300\n"
        "auth:\n  provider: oidc\n  issuer: https://id.example/realms/shop\n  token_ttl: 3600\n  password_policy: strong\n"
        f"features:\n  - checkout_v2\n  - search2026\nrelease: 2026.11.{d.randint(1, 28)}\n"
    )


def bodies(rounds: int = 10) -> Iterator[tuple[str, str]]:
    """Media type and text."""
    for number in range(rounds):
        dice = random.Random(f"ordinary {number}")
        for of in (order, page, results, pod):
            yield "application/json", json.dumps(of(dice))
        yield "text/plain", metrics(dice)
        yield "text/plain", log(dice)
        yield "text/html", form(dice)
        yield "text/csv", dump(dice)
        yield "application/yaml", settings(dice)

"""Names whose values are secret, however they are written (sans-IO).

A name is seen as its words: it is split at case, digits and every sign (``newPassword2``, ``DB_PASS``, ``x-csrf``,
``$['api-key']``), accents are taken off and a plural's ``s`` is too. A secret name is one that holds a listed word, or
listed words in a row; words that were written together (``dbpassword``) are found by their beginning or end. What only
speaks *about* a secret (``token_type``, ``passwordPolicy``, ``max_tokens``) is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

#: One word, or words in a row.
DEFAULT_NAMES = (
    "password", "passwd", "pwd", "pass", "pw", "passphrase", "passcode", "passkey", "psk", "passwort", "kennwort",
    "contrasena", "senha", "parola", "wachtwoord", "losenord", "salasana", "haslo", "mot de passe", "пароль", "密码",
    "パスワード", "pin", "otp", "totp", "hotp", "mfa", "token", "csrf", "xsrf", "jwt", "bearer", "secret", "nonce",
    "authorization", "authorisation", "auth", "oauth", "cookie", "session id", "sess", "sid", "sessid", "credential",
    "cred", "signature", "sig", "hmac", "salt", "assertion", "saml response", "saml request", "relay state",
    "connection string", "mnemonic", "seed phrase", "security answer", "secret answer", "dsn", "ticket granting",
    "credit card", "debit card", "card number", "card no", "cvv", "cvc", "cvn", "csc", "ssn", "social security", "iban",
    "account number", "routing number", "sort code", "tax id", "national id", "passport number", "wep",
    "integration key", "captcha", "recaptcha", "hcaptcha", "turnstile response", "client key", "requirepass",
    "masterauth", "masterpass", "apikey", "community string", "code verifier", "question answer", "seed word",
    "recovery phrase", "backup phrase", "secret phrase", "wallet seed", "master seed", "recovery seed", "totp seed",
    "recovery word", "cryptogram", "cavv", "pin block", "pinblock", "authentication data",
    "track data", "puk", "mtan", "macaroon", "keytab", "tkt",
    "bindpw", "passhash", "pwhash", "privkey", "presigned", "snmp community", "rocommunity", "rwcommunity",
    "unseal key", "pre shared", "crumb", "rootpw", "gift card code", "gift code", "voucher code", "voucher number",
    "pswd", "psw", "pswrd", "passw", "pswrd", "challenge response", "first pet", "pet name",
    # of other languages; those of two words stand in either order, see _NOUNS
    "clave", "contrasenia", "palavra passe", "palabra secreta", "palabra clave", "secreto", "segredo", "segreto",
    "motdepasse", "mdp", "jeton", "geheimnis", "geheimzahl", "zugangsdaten", "anmeldedaten",
    "frage antwort", "sicherheitsfrage antwort",
    "geheimfrage antwort", "sicherheitsantwort", "reponse secrete", "respuesta secreta", "resposta secreta", "heslo",
    "lozinka", "geslo", "jelszo", "parool", "slaptazodis", "sifre", "şifre", "kata sandi", "adgangskode", "passord",
    "tunnusluku", "mat khau", "비밀번호", "暗証番号", "口令", "密钥", "令牌", "验证码", "секрет", "токен", "пинкод",
    "kontonummer", "kartennummer", "kreditkarte", "kreditkartennummer", "prufziffer", "tarjeta credito",
    "numero tarjeta", "numero carte", "carte bancaire", "cartao credito", "numero cartao", "carta credito",
    "identifiant secret", "gettone", "frase secreta", "frase semilla", "xprv", "wif", "sicherheitswort",
    "credencial", "credenciale", "credenziali", "identifikator sesji",
    "비번", "패스워드", "암호", "토큰", "secure json data", "secure setting",
    "conn str", "sas token", "sas url", "sas uri", "service ticket", "tgt", "verification value", "serial key",
    "safe combination", "key material", "service account json", "github pat", "gitlab pat", "azure pat",
    "dockerconfigjson", "jws", "jwe", "ciphertext blob", "kek", "dek", "one time code", "card code", "password data",
)  # fmt: skip

# Secret as the whole name only, and in the singular: ``cards`` and ``sessions`` are lists of things.
_WHOLE = frozenset({"card", "pan", "tan", "session", "user_session", "usersession"})

# Beside one of these ``key`` and ``code`` are secret; alone they are ordinary words.
_KEYS = frozenset(
    {"api", "access", "private", "secret", "encryption", "encrypt", "decryption", "signing", "sign", "master",
     "shared", "account", "storage", "subscription", "license", "licence", "ssh", "rsa", "aes", "hmac", "session",
     "server", "consumer", "app", "application", "auth", "service", "admin", "write", "webhook", "instrumentation",
     "pgp", "gpg", "tls", "ssl", "wallet", "product", "activation", "sas", "functions", "function", "host",
     "preshared", "deploy", "machine", "root", "recovery", "data", "symmetric", "cipher", "crypto", "customer",
     "validation", "unseal", "bot", "payment", "merchant", "partner", "developer", "pairing", "bootstrap", "ingest",
     "ingestion", "logging", "google", "stripe", "openai", "anthropic", "sendgrid", "mailgun", "algolia", "datadog",
     "tunnel", "vpn", "bitlocker", "filevault", "steam", "priv", "hawk", "jwt", "vapid", "fcm", "apns", "telnet",
     "seal", "kek", "dek", "wifi", "wlan", "wireless", "radius", "tacacs", "isakmp", "psk", "stream", "genie",
     "listen", "wpa", "wep", "decrypt", "secondary", "registration", "spend", "view", "wrapped", "dev", "ephemeral",
     "publishable", "mac", "broadcast", "rtmp"}
)  # fmt: skip
_CODES = frozenset(
    {"auth", "authorization", "verification", "verify", "security", "confirm", "confirmation", "reset", "recovery",
     "backup", "sms", "login", "access", "activation", "invite", "invitation", "pairing", "device", "user", "pass",
     "secret", "factor", "mfa", "otp", "totp", "pin", "passkey", "scratch", "unlock", "signup", "magic", "email",
     "puk", "door", "gate", "alarm", "entry", "safe", "lock", "transfer", "epp", "redeem", "redemption", "claim",
     "join", "validation"}
)  # fmt: skip

# Keys and codes in other languages: secret beside one of these, before or behind them (``cle_api``, ``api_cle``).
_NOUNS = frozenset(
    {"schlussel", "schluessel", "cle", "clef", "chave", "clave", "llave", "chiave", "sleutel", "nyckel", "nokkel",
     "klucz", "klic", "avain", "anahtar", "kunci", "ключ", "codigo", "codice", "kode", "kod", "koodi", "код", "code"}
)  # fmt: skip
_BESIDE = frozenset(
    {"secreta", "secreto", "secrete", "segreta", "segreto", "geheim", "geheimer", "privada", "privado", "privee",
     "privata", "privater", "prive", "privat", "acceso", "acces", "acesso", "accesso", "zugang", "zugriff", "toegang",
     "maestra", "mestra", "maitre", "cifrado", "cifra", "chiffrement", "seguridad", "seguranca", "securite",
     "sicurezza", "sicherheit", "verificacion", "verificacao", "verifica", "verificatie", "confirmacion",
     "confirmacao", "conferma", "bestatigung", "activacion", "ativacao", "attivazione", "aktivierung", "recuperacion",
     "recuperacao", "recupero", "sesion", "sessao", "sessione", "sitzung", "licencia", "licenca", "lizenz", "unico",
     "unique", "tajny", "gizli", "секретный", "доступа", "подтверждения"}
)  # fmt: skip
_BETWEEN = frozenset({"de", "di", "da", "do", "du", "d", "l", "of", "der", "den", "van", "voor", "la", "del", "pour"})
# ``smsotp``, ``cardpin``: what may stand before a short word that is written together with it
_BEFORE_SHORT = frozenset(
    {"user", "sms", "email", "mail", "phone", "mobile", "login", "card", "new", "old", "confirm", "my", "db", "ldap",
     "smtp", "ftp", "admin", "root", "client", "app", "auth", "current", "repeat", "re", "wifi", "wlan", "account",
     "acct", "atm", "sim", "web", "vnc", "rdp", "ssh", "sudo", "http", "proxy", "bind", "master", "host", "device"}
)  # fmt: skip
_SHORT_TAIL = re.compile(r"(?:otp|pin|pw|psk|cvv|cvc|tan|pass|mdp|cred)\Z")

# The last word of what speaks about a secret.
_ABOUT_LAST = frozenset(
    {"type", "count", "length", "len", "size", "algorithm", "alg", "algo", "expires", "expiry", "expiration",
     "expired", "ttl", "lifetime", "age", "enabled", "disabled", "required", "policy", "strength", "limit", "max",
     "min", "used", "usage", "at", "on", "version", "issuer", "scheme", "brand", "format", "method", "mode", "level",
     "index", "position", "date", "time", "timeout", "name", "error", "exception", "service", "controller", "filter",
     "handler", "provider", "factory", "validator", "repository", "config", "generator", "encoder", "interceptor",
     "middleware", "test", "endpoint", "changed", "attempt", "detail", "status", "budget", "per", "rate", "class",
     "color", "style", "label", "placeholder", "title", "network", "holder", "domain", "path", "samesite", "in",
     "by", "manager", "storage", "store", "parser", "stream", "bucket", "pool", "cost", "price", "logprob",
     "affinity", "kind", "consent", "banner", "group", "role", "event", "form", "field", "page", "view", "screen",
     "layout", "state", "flow", "supported", "ref", "check", "expire",
     "scope", "symbol", "decimal", "digit", "file", "filename", "dir", "directory"}
)  # fmt: skip
_TOPICS = frozenset(
    {
        "auth",
        "oauth",
        "session",
        "token",
        "cookie",
        "cookies",
        "authentication",
        "secret",
        "secrets",
        "credential",
        "credentials",
    }
)
# The same below one of these, or in an object that shows a card's last digits.
_DESCRIBING = frozenset(
    {"realm", "strategy", "driver", "backend", "secure", "country", "last", "funding", "month", "year", "region",
     "host", "port", "url", "uri", "description", "fingerprint", "audience", "httponly", "only", "site", "user",
     "username"}
)  # fmt: skip
_ABOUT_FIRST = frozenset(
    {"has", "is", "can", "should", "require", "requires", "needs", "enable", "disable", "allow", "max", "min", "num",
     "total", "forgot", "completion", "prompt", "cached", "reasoning", "accepted", "rejected", "audio", "image"}
)  # fmt: skip
_SIGNING_IN = frozenset({"auth", "oauth", "authorization", "token", "session", "jwt"})  # their addresses are public
_COUNTED = frozenset({"input", "output", "completion", "prompt", "total", "cached", "reasoning", "max", "min", "num",
                      "thinking", "used", "remaining", "audio", "text", "image", "per", "prediction", "creation",
                      "read", "write", "cache", "budget", "thoughts", "candidates", "generated", "usage"})  # fmt: skip
# Last words of names that tell together with their value: ``streamKey``, ``door_code``, ``first_answer``.
_WEAK = frozenset(
    {"key", "code", "hash", "sig", "phrase", "seed", "answer", "antwort", "respuesta", "resposta", "risposta",
     "reponse", "community", "sign", "sk", "plaintext", "pin", "salt", "nonce", "cred", "string"}
)  # fmt: skip
_ANSWERS = frozenset({"answer", "antwort", "respuesta", "resposta", "risposta", "reponse"})
#: Those that tell as the whole name.
_ALONE = frozenset({"sk", "plaintext", "plain", "verification", "confirmation", "recovery", "scratch"})
# ... unless one of these is beside them: what is looked up, ordered or translated by, and what classifies.
_HARMLESS = frozenset(
    {"primary", "foreign", "sort", "partition", "cache", "public", "pub", "group", "object", "translation",
     "message", "i18n", "row", "range", "item", "unique", "natural", "business", "event", "idempotency",
     "idempotent", "query", "map", "lookup", "index", "shard", "dedup", "dedupe", "deduplication", "issue",
     "project", "property", "setting", "config", "field", "form", "label", "tag", "node", "image", "file", "folder",
     "document", "list", "react", "menu", "page", "section", "content", "order", "feature", "flag", "resource",
     "type", "metric", "dimension", "sorting", "parent", "child", "column", "record", "entity", "component", "block",
     "route", "topic", "hot", "short", "prefix", "suffix", "schema", "site", "error", "status", "country",
     "currency", "postal", "post", "zip", "area", "language", "lang", "locale", "region", "product", "sku", "bar",
     "qr", "color", "colour", "promo", "promotion", "coupon", "discount", "exit", "return", "response", "reason",
     "result", "http", "hs", "tax", "vat", "category", "city", "state", "airport", "iata", "icao", "carrier", "bank",
     "branch", "swift", "bic", "source", "unit", "char", "op", "dial", "calling", "phone", "fault", "sub", "gl",
     "cost", "department", "dept", "store", "warehouse", "location", "plan", "fare", "room", "class", "subject",
     "course", "diagnosis", "icd", "cpt", "symbol", "stock", "native", "embed", "byte", "machine", "organization",
     "org", "network", "team", "campaign", "tracking", "booking", "reservation", "flight", "train", "style", "model",
     "part", "material", "batch", "lot", "serial", "version", "build", "git", "commit", "tree", "blob", "asset",
     "chunk", "bundle", "template", "pod", "revision", "transaction", "tx", "merkle", "data", "body", "info", "ipfs",
     "geo", "perceptual", "integrity", "sha", "md", "etag", "script", "code", "key", "random", "verb", "road",
     "pattern", "action", "call", "question", "correct", "expected", "final", "ai", "faq", "name", "shop", "series",
     "market", "customs", "tariff", "icon", "emoji", "role", "permission", "scope", "task", "job", "queue", "table"}
)  # fmt: skip
#: How weak names end, or begin; without looking at their words.
_TAILS = re.compile(
    rf"(?i:(?:{'|'.join(_WEAK)}|text|value|plain|verification|confirmation|recovery|scratch)s?[0-9\W_]*\Z|\A\W*vault)"
)
#: Secret in a query or a form, where people do not spell them out.
_QUERY = frozenset({"code", "state", "sig", "key", "auth", "nonce", "ticket", "hash", "sign", "tok", "access", "tk",
                    "tkn", "zak", "security", "hdnts", "hdnea", "hdntl", "answer", "antwort"})  # fmt: skip

# Words that were written together. Names that begin or end so are secret.
_WITHIN = re.compile(
    r"password|passwd|passphrase|passwort|kennwort|secret(?!ar)|api_?key|access_?key(?!s?id\b)|private_?key|secret_?key"
    r"|(?:access|auth|id|refresh|bearer|session|csrf|xsrf|security|reset|user|app|api|bot|device|push|login|x|o)token"
    r"|authoriz?sation(?!s)|credential|csrf|xsrf|sessionid|sessid|creditcard|cardnumber|cardno|encryptionkey|signingkey"
    r"|authcode|authkey|xauth|oauth|clientkey|masterkey|accountkey|sharedkey|licensekey|securitycode|passcode|pincode"
    r"|motdepasse|geheim(?:nis|zahl|code|wort)|kreditkarte|pass?w?d?hash|priv(?:ate)?_?key"
    r"|(?:zugangs|sicherheits|besta(?:e)?tigungs|verifizierungs|einmal|freischalt|aktivierungs|entsperr|geheim"
    r"|wiederherstellungs|anmelde|lizenz|privat|sitzungs|zugriffs|api|toegangs?|beveiligings|verificatie|bevestigings"
    r"|herstel|activerings|bekreftelses|adgangs|sikkerheds|sakerhets)"
    r"(?:code|kode|kod|schlu(?:e)?ssel|sleutel|nyckel|daten\Z)"
    r"|jsessionid|authtok|phpsessid|cookie(?!l)|signature|connectionstring|accesstoken"
)
_TAIL = re.compile(r"(?:(?<!com)(?<!by)(?<!tres)(?<!over)(?<!under)(?<!sur)pass|pwd|pw|token|nonce|sid)\Z")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")
_NAME_LIMIT = 160  # characters: what is longer is no name, but may be looked at by its beginning
_MEMO = 8192
_STROKES = str.maketrans({"ł": "l", "ø": "o", "ß": "ss", "đ": "d", "ı": "i", "æ": "ae", "Ł": "L", "Ø": "O"})


_PLAIN = re.compile(r"[A-Za-z]*[._:/-]?[0-9]{1,6}\Z|[0-9]+[A-Za-z]{0,3}\Z|[A-Za-z._ -]*\Z")
_SIGNS = re.compile(r"[\s./:@\\(){}<>\[\],;%$]")


_ONE_SOUND = re.compile(r"s?chs?|ck|n?gths?|th|ph|sh|[csd]z|tz|ngst?")
_FIVE = re.compile(r"[bcdfghjklmnpqrstvwxz]{5}")


def readable(word: str) -> bool:
    """Whether letters can be a word: hardly a longer one has five consonants in a row (``strengths`` has)."""
    return len(word) < 7 or _FIVE.search(_ONE_SOUND.sub("s", word.lower())) is None


def chosen(value: str) -> bool:
    """Whether somebody chose or made ``value`` to be hard to guess: 6 to 200 characters, letters with digits among
    them, no blank and no sign of an address, a time or a sentence; not a word with a number. Or eight letters and
    more that are no word."""
    if value.isalpha():
        return 8 <= len(value) <= 200 and value.isascii() and not readable(value)
    return (
        6 <= len(value) <= 200 and not _SIGNS.search(value) and not _PLAIN.match(value) and any(map(str.isdigit, value))
    )


def answers(value: str) -> bool:
    """Whether ``value`` may be what only one person answers: up to three words, and not yes or a number."""
    return 2 < len(value) <= 40 and value.count(" ") < 3 and value[-1] not in ".!?:" and value.lower() not in _REPLIES


_REPLIES = frozenset({"yes", "no", "true", "false", "none", "null", "maybe", "unknown", "other", "nein", "oui", "non"})


def words_of(name: str) -> tuple[str, ...]:
    """``accessKeyId`` → access, key, id. Numbers are left out, plurals are singular."""
    name = name[:_NAME_LIMIT]
    if not name.isascii():
        name = unicodedata.normalize("NFKD", name).translate(_STROKES)
        name = "".join(c for c in name if not unicodedata.combining(c))
    return tuple(_singular(part.lower()) for part in _PART.findall(name) if not part.isdigit())


def _singular(word: str) -> str:
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


class SecretNames:
    """``extra`` are the operator's, as ``DEFAULT_NAMES``; they go before what is about a secret."""

    __slots__ = ("_extra", "_memo", "_query_memo", "_rows", "_single", "_weak_memo")

    def __init__(self, extra: Iterable[str] = (), names: Iterable[str] = DEFAULT_NAMES) -> None:
        own = [words_of(name) for name in extra]
        self._extra = frozenset(row for row in own if row)
        rows = [words_of(name) for name in names]
        self._single = frozenset(row[0] for row in rows if len(row) == 1)
        self._rows = frozenset(row for row in rows if len(row) > 1)
        self._memo: dict[str, bool] = {}
        self._query_memo: dict[str, bool] = {}
        self._weak_memo: dict[str, bool] = {}

    def secret(self, name: str) -> bool:
        """Whether a value of that name is a secret."""
        known = self._memo.get(name)
        if known is None:
            if len(self._memo) >= _MEMO:
                self._memo.clear()
            known = self._memo[name] = self._look(name)
        return known

    def secret_parameter(self, name: str) -> bool:
        """The same in a query, where ``code``, ``state``, ``sig``, ``key`` and ``auth`` are secrets too."""
        known = self._query_memo.get(name)
        if known is None:
            if len(self._query_memo) >= _MEMO:
                self._query_memo.clear()
            known = self._query_memo[name] = (
                self.secret(name)
                or name.lower() in _QUERY
                or _is_short(words_of(name))
                or name in ("new1", "new2", "pass1", "pass2")
            )
        return known

    def weak(self, name: str) -> bool:
        """Whether a value of that name is a secret if it looks like one (``tells``)."""
        known = self._weak_memo.get(name)
        if known is None:
            if len(self._weak_memo) >= _MEMO:
                self._weak_memo.clear()
            known = self._weak_memo[name] = _TAILS.search(name) is not None and _is_weak(words_of(name))
        return known

    def holds(self, name: str, value: str) -> bool:
        """Whether ``value`` is a secret of that name."""
        return self.secret(name) or (self.weak(name) and tells(name, value))

    def _look(self, name: str) -> bool:
        words = words_of(name)
        if not words:
            return False
        if (self._extra and _holds(words, self._extra)) or name.lower() in _WHOLE:
            return True
        if words in self._rows:
            return True  # RelayState is no state
        plain = words if words[0] not in ("x", "my", "the") else words[1:]
        if len(plain) == 1 and plain[0] in _WHOLE and not name.lower().endswith("s"):
            return True
        if "maiden" in words or (words[0] == "enable" and words[1:] in (("password",), ("secret",))):
            return True  # what people are asked for, and what routers call so
        if len(words) > 1 and (words[-1] in _ABOUT_LAST or words[0] in _ABOUT_FIRST):
            return False
        if len(words) > 1 and words[-1] in ("url", "uri") and words[-2] in _SIGNING_IN:
            return False
        if "token" in words and _COUNTED.intersection(words) and name.rstrip("0123456789").lower().endswith("s"):
            return False  # input_tokens, cacheReadTokens
        if not self._single.isdisjoint(plain) or _holds(words, self._rows):
            return True
        if any(b == "key" and a in _KEYS for a, b in pairwise(words)):
            return True
        if any(b == "code" and a in _CODES for a, b in pairwise(words)):
            return True
        if not _NOUNS.isdisjoint(words) and _is_foreign(words):
            return True
        if "password" in name[:_NAME_LIMIT].lower():
            return True  # EAPPassword
        return any(_WITHIN.search(word) or (len(word) > 4 and _is_compound(word)) for word in words)


def is_topic(name: str) -> bool:
    """Whether a secret's name is also that of settings (``{"auth": {"provider": …}}``)."""
    return name.lower() in _TOPICS


@lru_cache(_MEMO)
def describes(name: str) -> bool:
    """Whether a member below a topic is no secret."""
    words = words_of(name)
    return bool(words) and (words[-1] in _ABOUT_LAST or words[-1] in _DESCRIBING)


def _is_weak(words: tuple[str, ...]) -> bool:
    if len(words) > 1 and words[-1] in ("text", "value"):
        words = words[:-1]
    if not words or not _HARMLESS.isdisjoint(words[:-1]):
        return False
    if len(words) == 1:
        return words[0] in _ANSWERS or words[0] in _ALONE
    return words[-1] in _WEAK or (words[0] == "vault" and words[-1] not in _ABOUT_LAST)


def tells(name: str, value: str) -> bool:
    """Whether ``value`` of a weak name is a secret."""
    low = name.lower()
    if any(word in low for word in _ANSWERS):
        return answers(value)
    return (
        chosen(value)
        or _grouped(value)
        or (("code" in low or low in ("verification", "confirmation")) and value.isdigit() and 4 <= len(value) <= 8)
    )


def _grouped(value: str) -> bool:
    """``JBSW Y3DP EHPK 3PXP``, as people type a key."""
    groups = value.replace("-", " ").split(" ")
    return len(groups) > 2 and len({*map(len, groups)}) == 1 and 3 < len(groups[0]) < 9 and chosen("".join(groups))


def bare(parent: str, name: str, value: str) -> bool:
    """``{"wifi": {"key": …}}``, ``{"phone": …, "code": "550217"}``: of ``key`` and ``code`` without more."""
    if name == "code" and len(value) == 6 and value.isdigit():
        return True
    words = words_of(parent)
    if name == "community":
        return "snmp" in words or "trap" in words
    if name == "a":  # {"security_question": {"q": …, "a": …}}
        return words[-2:] == ("security", "question") and answers(value)
    if "gift" in words or "voucher" in words:
        return tells(name, value) or value.isupper()
    return bool(words) and words[-1] in (_KEYS if name == "key" else _CODES) and tells(name, value)


def _is_compound(word: str) -> bool:
    """``rootpw``, ``sshkey``, ``smscode``, ``cardpin``."""
    if _TAIL.search(word):
        return True
    if word.endswith("key") and word[:-3] in _KEYS:
        return True
    if word.endswith("code") and word[:-4] in _CODES:
        return True
    tail = _SHORT_TAIL.search(word)
    return tail is not None and word[: tail.start()] in _BEFORE_SHORT


def _is_foreign(words: tuple[str, ...]) -> bool:
    plain = [word for word in words if word not in _BETWEEN]
    for one, other in (*pairwise(plain), *((b, a) for a, b in pairwise(plain))):
        if one in _NOUNS and (other in _BESIDE or (one not in ("code", "kode") and other in ("api", "ssh", "app"))):
            return True
    return False


def _is_short(words: tuple[str, ...]) -> bool:
    return bool(words) and words[-1] in ("sig", "key", "code", "auth") and len(words) <= 3


def _holds(words: tuple[str, ...], rows: frozenset[tuple[str, ...]]) -> bool:
    """Whether one of ``rows`` stands in ``words``, in a row."""
    count = len(words)
    return any(
        words[start:end] in rows for start in range(count) for end in range(start + 1, min(start + 4, count) + 1)
    )

"""Names are seen as words: what is secret however it is written, and what only speaks about a secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shadowd.redact.names import SecretNames, words_of

names = SecretNames(["Kundennummer", "customer key"])

SECRET = [
    "password", "newPassword2", "DB_PASS", "x-csrf", "accessKeyId", "tokens", "passwords", "secrets", "cookies",
    "password_hash", "token_value", "passwordConfirmation", "secretValue", "apiKeyValue", "x-api-key", "auth",
    "authToken", "pw", "user_pass", "db_pass", "passwort", "mfa", "cvv2", "tan", "PIN2", "dbpassword", "userpwd",
    "X-Auth-Token", "client_secret", "userPassword", "card", "API_KEY", "CURRENT_PASSWORD", "SESSION_ID", "sessionid",
    "JSESSIONID", "PHPSESSID", "csrfmiddlewaretoken", "__RequestVerificationToken", "authenticity_token",
    "kundennummer", "meineKundennummer", "customerKey2", "AWS_SECRET_ACCESS_KEY", "private-key", "id_token",
    "SAMLResponse", "verification_code", "authCode", "MOT_DE_PASSE", "contraseña", "пароль", "apikeys", "credentials",
    "X-Amz-Security-Token", "stripeSecretKey", "encryptionKey", "requirepass", "masterauth", "oauth2Token",
    "connectionString", "rootpw", "account_number", "signature", "x_hub_signature_256", "botToken", "SharedAccessKey",
    "session", "$['api-key']", "user[password][]"
]  # fmt: skip
ORDINARY = [
    "completion_tokens", "max_tokens", "prompt_tokens", "token_type", "tokenizer", "passenger", "compass", "bypass",
    "author", "authors", "sessions", "cards", "discard", "passwordPolicy", "has_password", "token_count",
    "signature_algorithm", "sort_key", "primary_key", "cache_key", "postal_code", "country_code", "error_code",
    "status_code", "key", "code", "state", "keyboard", "monkey", "total_tokens", "input_tokens", "secretary",
    "design", "insider", "pinned", "spinner", "pancake", "tangible", "classpath", "keyword", "inside", "side", "id",
    "name", "cached_tokens", "reside"
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET)
def test_secret_names(name: str) -> None:
    assert names.secret(name)


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_names(name: str) -> None:
    assert not names.secret(name)


@pytest.mark.parametrize("name", ["code", "state", "sig", "key", "auth", "nonce", "hmac_sig"])
def test_names_that_are_secret_in_a_query(name: str) -> None:
    assert names.secret_parameter(name)


WORDS = ["user", "new", "db", "my", "shop", "old"]


@given(st.lists(st.sampled_from(WORDS), max_size=3), st.sampled_from(["password", "secret", "token", "apiKey"]),
       st.sampled_from(["camel", "_", "-", ".", " ", "UP"]), st.integers(0, 99))  # fmt: skip
def test_the_way_of_writing_changes_nothing(before: list[str], word: str, style: str, number: int) -> None:
    words = [*before, *words_of(word)]
    if style == "camel":
        name = words[0] + "".join(one.capitalize() for one in words[1:]) + str(number)
    elif style == "UP":
        name = "_".join(words).upper() + str(number)
    else:
        name = style.join([*words, str(number)])
    assert names.secret(name)


@given(st.text(max_size=300))
def test_any_text_may_be_a_name(name: str) -> None:
    assert names.secret(name) in (True, False)
    assert names.secret(name) == names.secret(name)


@pytest.mark.parametrize("name", ["cle_api", "api_cle", "chave_secreta", "codigo_de_verificacao", "clave",
                                  "motdepasse2",
                                  "Zugangscode", "hasło", "jelszó", "sicherheitsfrage_antwort",
                                  "smsotp", "cardPin", "privkey", "sshkey", "EAPPassword", "code_verifier",
                                  "customer-key"])  # fmt: skip
def test_secret_names_written_together_or_in_other_languages(name: str) -> None:
    assert SecretNames().secret(name)


@pytest.mark.parametrize("name", ["project_key", "search_key", "link_key", "Lösung", "barcode", "postcode", "zipcode",
                                  "turkey", "routing_key", "llave", "codigo_postal", "codice_prodotto",
                                  "mailbox"])  # fmt: skip
def test_ordinary_names_like_them(name: str) -> None:
    assert not SecretNames().secret(name)

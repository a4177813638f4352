"""Configuration: what is taken, in which normal form, and that every fault is said, with its place and a hint."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadowd.config.document import Config, FilterSpec, TargetSpec, load_config, parse_config
from shadowd.errors import ConfigError, ShadowdError, UsageError

SHOP: dict[str, Any] = {"name": "shop", "ports": ["8080"], "targets": ["http://next:8080"]}


def spec(**changes: Any) -> FilterSpec:
    return FilterSpec.from_wire({**SHOP, **changes})


def fault(**changes: Any) -> str:
    with pytest.raises(UsageError) as raised:
        spec(**changes)
    assert raised.value.exit_code == 2
    return str(raised.value)


def test_defaults() -> None:
    shop = spec()
    assert (shop.hook, shop.direction, shop.sample, shop.protocol, shop.methods) == (
        "socket",
        "inbound",
        1,
        "auto",
        "safe",
    )
    assert (shop.proxy_protocol, shop.order, shop.max_lag, shop.timeout) == ("strip", "auto", 5, 10)
    assert (shop.max_rps, shop.max_connections, shop.max_in_flight, shop.max_buffered) == (None, 1024, 4096, 16 << 20)
    assert (shop.allow_writes, shop.preserve_host, shop.paused) == (False, False, False)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        (8080, ((8080, 8080),)),
        ("8080", ((8080, 8080),)),
        (["8000-8010", 80], ((80, 80), (8000, 8010))),
        ("80, 81,443", ((80, 81), (443, 443))),
        (["1-65535"], ((1, 65535),)),
        ([[5, 9], "8-12"], ((5, 12),)),
    ],
)
def test_ports(written: object, normal: object) -> None:
    assert spec(ports=written).ports == normal


@settings(deadline=None)  # a loaded machine is no failure
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 20)), min_size=1, max_size=30))
def test_ports_keep_their_set(ranges: list[tuple[int, int]]) -> None:
    wanted = {port for low, extra in ranges for port in range(low, low + extra + 1)}
    normal = spec(ports=[f"{low}-{low + extra}" for low, extra in ranges]).ports
    assert {port for low, high in normal for port in range(low, high + 1)} == wanted
    assert all(normal[k][1] + 1 < normal[k + 1][0] for k in range(len(normal) - 1)), "sorted and joined"


@settings(deadline=None)  # a loaded machine is no failure
@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_cidrs_are_taken_as_the_standard_library_has_them(address: int, length: int) -> None:
    network = ipaddress.ip_network((address >> (32 - length) << (32 - length), length))
    assert spec(client_cidrs=[str(network)]).client_cidrs == (str(network),)


@pytest.mark.parametrize(
    ("written", "share"), [(0.25, 0.25), (1, 1), ("10%", 0.1), ("100%", 1), ("0.5", 0.5), ("12.5 %", 0.125)]
)
def test_rates(written: object, share: float) -> None:
    assert spec(sample=written).sample == pytest.approx(share)


@pytest.mark.parametrize(
    ("written", "seconds"), [(5, 5), ("5s", 5), ("500ms", 0.5), ("2m", 120), (0.25, 0.25), ("7", 7)]
)
def test_times(written: object, seconds: float) -> None:
    assert spec(max_lag=written).max_lag == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "count"),
    [(1 << 20, 1 << 20), ("16MB", 16 << 20), ("512 KiB", 512 << 10), ("1g", 1 << 30), ("70000", 70000)],
)
def test_sizes(written: object, count: int) -> None:
    assert spec(max_buffered=written).max_buffered == count


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "Shop 1"}, "name: 'Shop 1' is not a name"),
        ({"name": "a" * 64}, "name: "),
        ({"name": 5}, "name: '5' is not a name"),
        ({"hook": "tc"}, "hook: 'tc' is not a hook — give socket, or tc:INTERFACE"),
        ({"hook": "tc:"}, "hook: "),
        ({"hook": "tc:" + "e" * 16}, "at most 15 characters"),
        ({"direction": "inbuond"}, "direction: 'inbuond' is not known — did you mean inbound?"),
        ({"ports": []}, "ports: is missing — give the service's ports (--port), or a cgroup"),
        ({"ports": "0"}, "ports: '0' is not a port — ports are 1 to 65535"),
        ({"ports": "70000"}, "'70000' is not a port"),
        ({"ports": "http"}, "'http' is not a port — give ports and ranges such as 8080"),
        ({"ports": "90-80"}, "did you mean 80-90?"),
        ({"ports": True}, "ports: 'True' is not a list"),
        ({"client_cidrs": "10.0.0.1/8"}, "is not a network — host bits are set, did you mean 10.0.0.0/8?"),
        ({"server_cidrs": "10.0.0.0/33"}, "server_cidrs: '10.0.0.0/33' is not a network"),
        ({"server_cidrs": "fe80::1%eth0"}, "names an interface"),
        ({"cgroup": "../x"}, "cgroup: '../x' is not a cgroup"),
        ({"cgroup": "x.slice", "hook": "tc:eth0"}, "cgroup: works at the socket hook only"),
        ({"sample": 0}, "sample: '0' is not a rate — give a number above 0 up to 1, or a percentage such as 10%"),
        ({"sample": "150%"}, "sample: '150%' is not a rate"),
        ({"sample": 2}, "sample: '2' is not a rate"),
        ({"sample": float("nan")}, "is not a rate"),
        ({"sample": "1e400"}, "is not a rate"),
        ({"protocol": "htp"}, "protocol: 'htp' is not known — did you mean http?"),
        ({"targets": []}, "targets: is missing — say where to replay (--to)"),
        ({"targets": ["http://a", "http://A:80/"]}, "targets: http://a:80 is given more than once"),
        ({"targets": [f"http://h{k}" for k in range(17)]}, "targets: has 17 entries — at most 16"),
        ({"methods": "get"}, "methods: 'get' is in lower case — did you mean GET?"),
        ({"methods": ["GET", "any"]}, "'any' stands among methods"),
        ({"methods": "G T"}, "'G T' is not a method"),
        ({"methods": "POST,WEBSOCKET"}, "methods: WEBSOCKET stands without GET, by which it begins — add GET"),
        ({"methods": []}, "methods: is empty"),
        ({"match_path": "("}, "match_path: '(' is not a regular expression"),
        ({"match_path": "[b-\na]"}, "invalid character class range"),
        ({"ports": 10**5000}, "ports: 'int' is not a port"),
        ({"max_in_flight": 10**5000}, "max_in_flight: 'int' is out of range"),
        ({"exclude_path": "x" * 1025}, "exclude_path: "),
        ({"match_header": "X-Tenant"}, "match_header: 'X-Tenant' has no colon — write it as 'Name: value'"),
        ({"match_header": "X: ["}, "match_header: '[' is not a regular expression"),
        ({"set_header": "X Y: 1"}, "set_header: 'X Y' is not a header name"),
        ({"set_header": "X: a\r\nEvil: b"}, "set_header: "),
        ({"set_header": "Content-Length: 5"}, "set_header: Content-Length cannot be changed"),
        ({"set_header": "x-shadowd: me"}, "set_header: x-shadowd cannot be changed"),
        ({"remove_header": "Host"}, "remove_header: Host cannot be removed"),
        ({"remove_header": "Transfer-Encoding"}, "remove_header: Transfer-Encoding cannot be changed"),
        ({"preserve_host": "yes"}, "preserve_host: 'yes' is not true or false"),
        ({"proxy_protocol": "keep"}, "proxy_protocol: 'keep' is not known — one of strip or forward"),
        ({"order": "any"}, "order: 'any' is not known"),
        ({"max_lag": "soon"}, "max_lag: 'soon' is not a time — give seconds, or 500ms, 5s, 2m"),
        ({"timeout": 0}, "timeout: '0' is out of range"),
        ({"timeout": float("inf")}, "timeout: "),
        ({"max_rps": -1}, "max_rps: '-1' is not a number of requests per second"),
        ({"max_rps": float("nan")}, "max_rps: "),
        ({"max_connections": "many"}, "max_connections: 'many' is not a whole number — give 1 to 1000000"),
        ({"max_in_flight": 0}, "max_in_flight: '0' is out of range"),
        ({"max_buffered": "16 pages"}, "max_buffered: '16 pages' is not a size"),
        ({"prots": [1]}, "prots: unknown key — did you mean ports?"),
        ({"protocol": "raw", "targets": ["tcp://h:1"]}, "allow_writes: is needed for raw: what is replayed may write"),
        ({"targets": ["tcp://h:1"]}, "allow_writes: is needed for raw"),
        ({"protocol": "http", "allow_writes": True, "targets": ["tcp://h:1"]}, "targets: tcp:// cannot take http"),
        ({"protocol": "raw", "allow_writes": True}, "targets: http:// cannot take raw — use tcp://host:port"),
        (
            {"protocol": "raw", "allow_writes": True, "targets": ["tcp://h:1"], "match_path": "x"},
            "match_path: works on HTTP requests only",
        ),
    ],
)  # fmt: skip
def test_a_bad_filter_is_told(changes: dict[str, Any], says: str) -> None:
    told = fault(**changes)
    assert says in told
    assert len(told.splitlines()) == 1, "one fault, one line"
    assert " — " in told, "and what to do"


@pytest.mark.parametrize(
    ("url", "normal", "host", "port"),
    [
        ("http://next", "http://next:80", "next", 80),
        ("HTTPS://Next.Example/", "https://next.example:443", "next.example", 443),
        ("tcp://[2001:DB8::1]:6379", "tcp://[2001:db8::1]:6379", "2001:db8::1", 6379),
        ("http://10.0.0.7:8080", "http://10.0.0.7:8080", "10.0.0.7", 8080),
        ("http://[fe80::1%25eth0]", "http://[fe80::1%eth0]:80", "fe80::1%eth0", 80),
    ],
)
def test_urls(url: str, normal: str, host: str, port: int) -> None:
    target = TargetSpec.from_wire(url)
    assert (target.url, target.host, target.port, target.role) == (normal, host, port, "candidate")
    assert TargetSpec.from_wire(target.to_wire()) == target


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("next:8080", "url: 'next:8080' is not a URL — write it as http://host:port"),
        ("ftp://next", "url: scheme 'ftp' is not known"),
        ("http://", "has no host"),
        ("http://next/api", "has a path — leave it out"),
        ("http://next?x=1", "has a path"),
        ("tcp://redis", "'tcp://redis' has no port"),
        ("http://next:99999", "'99999' in 'http://next:99999' is not a port"),
        ("http://next:", "is not a port"),
        ("http://2001:db8::1", "put an IPv6 address in brackets"),
        ("http://[::g]", "'::g' in 'http://[::g]' is not an IPv6 address"),
        ("http://300.0.0.1", "'300.0.0.1' is not a host"),
        ("http://a b", "'a b' is not a host"),
        ("http://x\ny", "is not a line of text"),
        ({"url": "http://x", "rol": "baseline"}, "rol: unknown key — did you mean role?"),
        ({"url": "http://x", "role": "judge"}, "role: 'judge' is not known"),
        ({"url": "http://x", "ca": "/ca.pem"}, "ca: is for https:// targets only"),
        ({"url": "tcp://x:1", "server_name": "y"}, "server_name: is for https:// targets only"),
        ({"url": "https://x", "ca": "ca.pem"}, "ca: 'ca.pem' is not an absolute path"),
        ({"url": "https://x", "client_key": "/k"}, "client_key: has no client_cert"),
        ({"url": "https://x", "insecure": True, "ca": "/c"}, "insecure: and ca contradict each other"),
        ({"url": "https://x", "server_name": "a b"}, "server_name: 'a b' is not a host name"),
        ({"role": "baseline"}, "url: is missing"),
    ],
)
def test_a_bad_target_is_told(target: object, says: str) -> None:
    assert f"targets[0].{says}" in fault(targets=[target]) or says in fault(targets=[target])


def test_a_password_in_a_url_is_not_repeated() -> None:
    told = fault(targets=["http://user:hunter2@next"])
    assert "names a user" in told
    assert "hunter2" not in told


def test_wire_round_trip() -> None:
    rich = spec(
        cgroup="system.slice/x.service", sample="10%", methods="GET,POST", set_header=["A: b"], match_header="X: ^y$",
        to=["https://next:1"], baseline=["https://same:2"], ca="/ca.pem", max_rps="50", max_lag="250ms", paused=True,
        ports="80,8000-8010", client_cidrs="10.0.0.0/8,::1",
    )  # fmt: skip
    wire = rich.to_wire()
    assert FilterSpec.from_wire(wire) == rich
    assert wire["ports"] == ["80", "8000-8010"]
    assert wire["client_cidrs"] == ["10.0.0.0/8", "::1/128"]
    assert wire["targets"] == [
        {"url": "https://next:1", "role": "candidate", "ca": "/ca.pem"},
        {"url": "https://same:2", "role": "baseline", "ca": "/ca.pem"},
    ]


def plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(plain(item) for item in value)
    return value is None or type(value) in (str, int, float, bool)


def test_the_wire_form_is_plain() -> None:
    assert plain(spec(methods="GET", set_header="A: b").to_wire())


def test_short_forms_change_only_what_they_name() -> None:
    before = spec(targets=[{"url": "https://a", "ca": "/ca.pem"}, {"url": "http://b", "role": "baseline"}])
    after = FilterSpec.from_wire({**before.to_wire(), "to": ["https://c", "https://a:443"]})
    assert [(t.url, t.role, t.ca) for t in after.targets] == [
        ("https://c:443", "candidate", None),
        ("https://a:443", "candidate", "/ca.pem"),
        ("http://b:80", "baseline", None),
    ]
    insecure = FilterSpec.from_wire({**before.to_wire(), "ca": "", "insecure": True})
    assert [(t.url, t.ca, t.insecure) for t in insecure.targets] == [
        ("https://a:443", None, True),
        ("http://b:80", None, False),
    ]
    assert "ca: is for https:// targets only" in fault(targets=[], to=["http://a"], ca="/x")
    assert "is not a line of text" in fault(to=[5])


def test_secret_headers_are_hidden_on_request_only() -> None:
    shop = spec(set_header=["Authorization: Bearer abc", "X-Api-Key: k", "X-Tenant: t"])
    assert shop.to_wire(redact=True)["set_header"] == [
        "Authorization: [redacted]",
        "X-Api-Key: [redacted]",
        "X-Tenant: t",
    ]
    assert shop.to_wire()["set_header"][0] == "Authorization: Bearer abc"


@settings(deadline=None)  # a loaded machine is no failure
@given(
    st.dictionaries(
        st.sampled_from([*FilterSpec.model_fields, "to", "ca", "bogus"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=6,
        ),
    )
)
def test_anything_is_taken_or_refused_in_words(table: dict[str, Any]) -> None:
    try:
        built = FilterSpec.from_wire({**SHOP, **table})
    except UsageError as error:
        said = str(error)
        built = None
    if built is None:
        assert all(line.strip() for line in said.splitlines())
        return
    assert FilterSpec.from_wire(built.to_wire()) == built


DOCUMENT = """
node = "edge-1"
ring_bytes = "8MB"
loop_key = "0123456789abcdef"

[[filters]]
name = "shop"
ports = [8080, "9000-9010"]
targets = ["http://next:8080", { url = "http://same", role = "baseline" }]
sample = "10%"
"""


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "shadowd.toml"
    path.write_text(DOCUMENT)
    config = load_config(path)
    assert (config.node, config.ring_bytes, config.state_dir) == ("edge-1", 8 << 20, Path("/var/lib/shadowd"))
    assert config.loop_key is not None
    assert config.loop_key.get_secret_value() == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(config)
    assert [(t.url, t.role) for t in config.filters[0].targets] == [
        ("http://next:8080", "candidate"),
        ("http://same:80", "baseline"),
    ]


def test_defaults_of_the_daemon() -> None:
    config = Config()
    assert config.own_mark.bit_count() == 1
    assert config.socket == "/run/shadowd/shadowd.sock"
    assert config.dead_man_seconds == 3
    assert config.filters == []
    assert config.node


def test_all_faults_at_once_each_with_file_and_key() -> None:
    document = """
    sokcet = "/x"
    own_mark = 3
    log_format = "xml"
    [[filters]]
    name = "a"
    ports = ["99999"]
    sample = 0
    targets = ["http://u:p@h", "tcp://h", { url = "https://h", rol = "x" }]
    protocol = "raw"
    [[filters]]
    ports = [80]
    """
    with pytest.raises(ConfigError) as raised:
        parse_config(document, "f.toml")
    lines = str(raised.value).splitlines()
    keys = {line.split(": ")[1] for line in lines}
    assert all(line.startswith("f.toml: ") and " — " in line for line in lines)
    assert keys == {
        "sokcet", "own_mark", "log_format", "filters[0].ports", "filters[0].sample", "filters[0].allow_writes",
        "filters[0].targets[0].url", "filters[0].targets[1].url", "filters[0].targets[2].rol",
        "filters[1].name", "filters[1].targets",
    }  # fmt: skip
    assert "f.toml: sokcet: unknown key — did you mean socket?" in lines


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("socket = ", "f.toml: not TOML: Invalid value (at end of document)"),
        ("a = 1\na = 2", "not TOML: Cannot overwrite a value"),
        ('socket = "shadowd.sock"', "socket: 'shadowd.sock' is not an absolute path"),
        (f'socket = "/{"s" * 120}"', "socket: has 121 bytes"),
        ('socket_group = "a b"', "socket_group: 'a b' is not a group"),
        ('state_dir = "state"', "state_dir: 'state' is not an absolute path"),
        ('node = "a/b"', "node: 'a/b' is not a node name"),
        ('loop_key = "tooshort"', "loop_key: is not a usable key"),
        ("own_mark = 0x300", "own_mark: 0x300 has more than one bit"),
        ("own_mark = 0x100000000", "own_mark: "),
        ('ring_bytes = "3MB"', "ring_bytes: '3MB' is not a power of two — 2 MB is"),
        ('ring_bytes = "512MB"', "ring_bytes: '512MB' is out of range — give 1 MB to 256 MB"),
        ("workers = 0", "workers: '0' is not a number of workers — give 1 to 64, or auto"),
        ("workers = 65", "workers: '65' is not a number of workers"),
        ('workers = "two"', "workers: 'two' is not a number of workers"),
        ("workers = true", "workers: 'True' is not a number of workers"),
        ("workers = 1.5", "workers: '1.5' is not a number of workers"),
        ("max_flows = 0", "max_flows: '0' is out of range"),
        ("max_buffered_total = 1", "max_buffered_total: '1' is out of range"),
        ("dead_man_seconds = 0", "dead_man_seconds: '0' is out of range"),
        (f"max_flows = 1{'0' * 5000}", "not TOML: Exceeds the limit"),
        (f"max_flows = 0x1{'0' * 5000}", "max_flows: 'int' is out of range"),
        ("filters = 5", "filters: is int, not a list"),
        ("filters = [5]", "filters[0]: is int, not a table"),
        ("[filter]", "filter: unknown key — did you mean filters?"),
    ],
)
def test_a_bad_setting_is_told(document: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(document, "f.toml")
    assert says in str(raised.value)
    assert "tooshort" not in str(raised.value), "a secret is never repeated"


def test_names_of_filters_are_unique() -> None:
    entry = '[[filters]]\nname = "a"\nports = [80]\ntargets = ["http://x"]\n'
    with pytest.raises(ConfigError, match=r"filters\[1\]\.name: 'a' is the name of filters\[0\] too"):
        parse_config(entry * 2, "f.toml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ShadowdError, match="No such file") as missing:
        load_config(tmp_path / "none.toml")
    assert missing.value.exit_code == 1
    path = tmp_path / "latin.toml"
    path.write_bytes(b'node = "\xe4"')
    with pytest.raises(ConfigError, match="not UTF-8 at byte 8"):
        load_config(path)
    path.write_bytes(b"#" * ((4 << 20) + 1))
    with pytest.raises(ConfigError, match="larger than 4 MB"):
        load_config(path)


def test_overrides_are_checked_and_keep_the_rest() -> None:
    config = parse_config(DOCUMENT, "f.toml")
    changed = config.with_overrides(socket="/tmp/x.sock", state_dir=None, log_format="json")
    assert (changed.socket, changed.log_format, changed.node) == ("/tmp/x.sock", "json", "edge-1")
    assert changed.filters == config.filters
    assert config.log_format == "text"
    with pytest.raises(ConfigError, match="log_format: 'xml' is not known"):
        config.with_overrides(log_format="xml")


def test_candidate_and_baseline_may_be_one_host() -> None:
    targets = ["http://one", {"url": "http://one", "role": "baseline"}]
    spec = FilterSpec.from_wire({"name": "a", "ports": ["80"], "targets": targets})
    assert [(target.url, target.role) for target in spec.targets] == [
        ("http://one:80", "candidate"), ("http://one:80", "baseline"),
    ]  # fmt: skip
    again = FilterSpec.from_wire(spec.to_wire())
    assert again == spec

"""The options of ``shadowctl filter add`` and ``set``: each a field of a filter, written once.

typer reads a command's parameters from its signature; ``filter_options`` gives a function that takes ``**options``
the signature with all of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

Text = str | None
Texts = list[str] | None
Flag = bool | None


def _option(flag: str, about: str, metavar: str) -> Any:
    return typer.Option(flag, help=about, metavar=metavar)


Hook = Annotated[Text, _option("--hook", "Where to look: socket (default) or tc:INTERFACE, globs allowed.", "HOOK")]
Direction = Annotated[Text, _option("--direction", "inbound (default): the service is here; outbound.", "WAY")]
Port = Annotated[Texts, _option("--port", "Server port, range or list: 80, 8000-8010, 80,81. Repeatable.", "PORT")]
ClientNet = Annotated[Texts, _option("--client", "Only clients in this network. Repeatable.", "CIDR")]
ServerNet = Annotated[Texts, _option("--server", "Only servers in this network. Repeatable.", "CIDR")]
Process = Annotated[Text, _option("--process", "What processes of this name listen on.", "NAME")]
Pid = Annotated[Text, _option("--pid", "What this process and its descendants listen on.", "N")]
Unit = Annotated[Text, _option("--unit", "A systemd unit, as it restarts.", "NAME")]
Container = Annotated[Text, _option("--container", "A container, or a pod as pod:UID.", "ID")]
PodOption = Annotated[
    Text, _option("--pod", "Pods: namespace=shop,app=checkout, or namespace=shop,name=checkout-*.", "SELECTOR")
]
Cgroup = Annotated[Text, _option("--cgroup", "Only processes of this cgroup (socket hook).", "PATH")]
Sample = Annotated[Text, _option("--sample", "Share of connections, 0.1 or 10% (default 100%).", "RATE")]
Protocol = Annotated[Text, _option("--protocol", "auto (default), http or raw.", "NAME")]
Tls = Annotated[Text, _option("--tls", "decrypt: read TLS by probes on the service's library (default off).", "WHAT")]
TlsKeylog = Annotated[Text, _option("--tls-keylog", "Read TLS by the secrets in this key log (NSS format).", "FILE")]
To = Annotated[Texts, _option("--to", "Replay to http, https, h2c, h2 or tcp://HOST[:PORT]. Repeatable.", "URL")]
ToProtocol = Annotated[
    Text, _option("--to-protocol", "What targets are asked in: auto (default: as production), http1, http2.", "NAME")
]
Baseline = Annotated[
    Texts, _option("--baseline", "A target that runs production's version, to measure noise. Repeatable.", "URL")
]
Ca = Annotated[Text, _option("--ca", "CA certificates (PEM) that https targets are verified by.", "FILE")]
Insecure = Annotated[Flag, typer.Option(help="Do not verify https targets.")]
ClientCert = Annotated[Text, _option("--client-cert", "Client certificate (PEM) for https targets.", "FILE")]
ClientKey = Annotated[Text, _option("--client-key", "Its key (PEM).", "FILE")]
ServerName = Annotated[Text, _option("--server-name", "Name for SNI and verification (default: the host).", "HOST")]
Methods = Annotated[
    Text, _option("--methods", "safe (default: GET, HEAD, OPTIONS), any, or a list: GET,POST.", "METHODS")
]
Websocket = Annotated[Flag, typer.Option(help="Mirror what is said on WebSockets: nobody can tell what of it writes.")]
MatchPath = Annotated[Text, _option("--match-path", "Only request targets that match.", "REGEX")]
ExcludePath = Annotated[Text, _option("--exclude-path", "No request targets that match.", "REGEX")]
MatchHeader = Annotated[Texts, _option("--match-header", "Only with a header that matches. Repeatable.", "'K: REGEX'")]
SetHeader = Annotated[Texts, _option("--set-header", "Set a header for the shadow. Repeatable.", "'K: V'")]
RemoveHeader = Annotated[Texts, _option("--remove-header", "Remove a header. Repeatable.", "K")]
SetJson = Annotated[
    Texts, _option("--set-json", "Change JSON bodies for candidates: '$.model=next-model'. Repeatable.", "'PATH=VALUE'")
]
SetJsonFile = Annotated[
    Texts, _option("--set-json-file", "The same, with the text of a file. Repeatable.", "'PATH=FILE'")
]
PreserveHost = Annotated[Flag, typer.Option(help="Keep production's Host header.")]
AllowWrites = Annotated[Flag, typer.Option(help="Allow raw (tcp://) replay, which may write.")]
AllowSelf = Annotated[Flag, typer.Option(help="Allow a target that is production itself: it serves requests twice.")]
ProxyProtocol = Annotated[Text, _option("--proxy-protocol", "strip (default) or forward a PROXY header.", "WHAT")]
Order = Annotated[
    Text, _option("--order", "auto (default): order while the shadow keeps pace; connection: always; none.", "ORDER")
]
MaxLag = Annotated[Text, _option("--max-lag", "Shed what is sent so much later (default 5s).", "TIME")]
MaxRps = Annotated[Text, _option("--max-rps", "Requests per second at most (default: no limit).", "N")]
MaxConnections = Annotated[Text, _option("--max-connections", "Shadow connections (default 1024).", "N")]
MaxInFlight = Annotated[Text, _option("--max-in-flight", "Requests sent and not answered (default 4096).", "N")]
Timeout = Annotated[Text, _option("--timeout", "Wait for the shadow's answer (default 10s).", "TIME")]
MaxBuffered = Annotated[Text, _option("--max-buffered", "Bytes waiting for a target (default 16MB).", "SIZE")]
Twin = Annotated[Text, _option("--twin", "Share of safe requests asked twice to learn noise (default 5%).", "RATE")]
Compare = Annotated[Flag, typer.Option(help="Compare the answers (default) or only mirror.")]
Route = Annotated[Texts, _option("--route", "Endpoint template: '/users/{id}'. Repeatable.", "ROUTE")]
RunKey = Annotated[
    Text, _option("--run-key", "Header or metric that names the version: its change ends the run.", "NAME")
]
MaxErrorIncrease = Annotated[
    Text, _option("--max-error-increase", "More failing answers than this: fail (0.1%).", "SHARE")
]
MaxDiffShare = Annotated[Text, _option("--max-diff-share", "A field wrong in more answers: fail (0.1%).", "SHARE")]
MaxSlowdown = Annotated[
    Text, _option("--max-slowdown", "Median, p90, p99 of the latency (default 10%,15%,25%).", "SHARES")
]
LatencyFloor = Annotated[Text, _option("--latency-floor", "Slower by less is no regression (default 1ms).", "TIME")]
MaxSlowIncrease = Annotated[
    Text, _option("--max-slow-increase", "More answers beyond twice production's p99: fail (0.5%).", "SHARE")
]
SlowFloor = Annotated[Text, _option("--slow-floor", "No answer is slow below (default 50ms).", "TIME")]
MinSpan = Annotated[Text, _option("--min-span", "Time of evidence before pass or fail (default 60s).", "TIME")]
Warmup = Annotated[
    Text, _option("--warmup", "auto (default), off or a time: the candidate's first is no evidence.", "WHAT")
]
MaxLeak = Annotated[Text, _option("--max-leak", "Memory growth per request (default 0.25KB: 256).", "SIZE")]
MaxDecisionIncrease = Annotated[
    Text, _option("--max-decision-increase", "Models: more refusals, other tool calls (1%).", "SHARE")
]
MaxTokenIncrease = Annotated[Text, _option("--max-token-increase", "Models: more output tokens (10%).", "SHARE")]
MaxTokenTimeIncrease = Annotated[
    Text, _option("--max-token-time-increase", "Models: more time per token (15%).", "SHARE")
]
MaxCostIncrease = Annotated[Text, _option("--max-cost-increase", "Models: higher cost, by --price (10%).", "SHARE")]
MaxSimilarityLoss = Annotated[
    Text, _option("--max-similarity-loss", "Models: text less alike than a second asking (5%).", "SHARE")
]
MaxCpu = Annotated[Text, _option("--max-cpu", "More CPU per request (default 25%).", "SHARE")]
MinCoverage = Annotated[Text, _option("--min-coverage", "Share compared that a pass needs (default 95%).", "SHARE")]
MinSamples = Annotated[Text, _option("--min-samples", "Exchanges that a verdict needs.", "N")]
MinDuration = Annotated[Text, _option("--min-duration", "Time that a verdict needs.", "TIME")]
Critical = Annotated[Texts, _option("--critical", "Judges that may fail the verdict (all but cpu).", "JUDGES")]
CriticalEndpoint = Annotated[
    Texts, _option("--critical-endpoint", "Needs --min-samples of its own: 'GET /orders/{id}'. Repeatable.", "ENDPOINT")
]
MemoryAfter = Annotated[Text, _option("--memory-after", "Requests before memory is judged (default 10000).", "N")]
IgnoreHeader = Annotated[Texts, _option("--ignore-header", "Response header that is not compared. Repeatable.", "K")]
CompareHeader = Annotated[
    Texts, _option("--compare-header", "Compare this header though it names a host, cache or trace. Repeatable.", "K")
]
Unordered = Annotated[Texts, _option("--unordered", "JSON array whose order says nothing: $.tags, or *.", "PATH")]
Descriptors = Annotated[Text, _option("--descriptors", "Schema of gRPC: a FileDescriptorSet (protoc, buf).", "FILE")]
Tolerance = Annotated[Text, _option("--tolerance", "Relative difference of numbers that is none.", "SHARE")]
Prices = Annotated[Texts, _option("--price", "Of a model, per million tokens. Repeatable.", "MODEL=INPUT,OUTPUT")]
Citations = Annotated[Text, _option("--citations", "What answers cite: '$.sources[*].id'.", "PATH")]
Refusal = Annotated[Text, _option("--refusal", "Your service's own words of refusal: '^our policy'.", "REGEX")]
Similarity = Annotated[
    Text, _option("--similarity", "A local sentence-transformers model that texts are compared by.", "FOLDER")
]
NoContent = Annotated[Flag, typer.Option("--no-content/--content", help="Keep measures alone: no values, no texts.")]
AllowExtra = Annotated[Flag, typer.Option(help="Additional fields of the candidate's JSON objects are no difference.")]
StrictTypes = Annotated[Flag, typer.Option(help="1 and 1.0 are different.")]
ShadowMetrics = Annotated[Text, _option("--shadow-metrics", "Prometheus text of the shadow's process.", "URL")]
StreamWindow = Annotated[Text, _option("--stream-window", "Compare streams that go on by what came (10m).", "TIME")]
ProductionMetrics = Annotated[Text, _option("--production-metrics", "The same of production.", "URL")]

#: In the order of ``--help``, under its headings.
GROUPS: dict[str, dict[str, Any]] = {
    "What": {
        "port": Port,
        "hook": Hook,
        "direction": Direction,
        "client": ClientNet,
        "server": ServerNet,
        "process": Process,
        "pid": Pid,
        "unit": Unit,
        "container": Container,
        "pod": PodOption,
        "cgroup": Cgroup,
        "sample": Sample,
        "protocol": Protocol,
        "proxy_protocol": ProxyProtocol,
        "tls": Tls,
        "tls_keylog": TlsKeylog,
    },
    "Where to": {
        "to": To,
        "baseline": Baseline,
        "to_protocol": ToProtocol,
        "allow_self": AllowSelf,
        "ca": Ca,
        "insecure": Insecure,
        "client_cert": ClientCert,
        "client_key": ClientKey,
        "server_name": ServerName,
    },
    "Which requests, and what is changed in them": {
        "methods": Methods,
        "allow_writes": AllowWrites,
        "websocket": Websocket,
        "match_path": MatchPath,
        "exclude_path": ExcludePath,
        "match_header": MatchHeader,
        "set_header": SetHeader,
        "remove_header": RemoveHeader,
        "set_json": SetJson,
        "set_json_file": SetJsonFile,
        "preserve_host": PreserveHost,
    },
    "Limits": {
        "order": Order,
        "max_lag": MaxLag,
        "max_rps": MaxRps,
        "max_connections": MaxConnections,
        "max_in_flight": MaxInFlight,
        "max_buffered": MaxBuffered,
        "timeout": Timeout,
        "stream_window": StreamWindow,
    },
    "Comparison": {
        "compare": Compare,
        "twin": Twin,
        "route": Route,
        "ignore_header": IgnoreHeader,
        "compare_header": CompareHeader,
        "allow_extra": AllowExtra,
        "unordered": Unordered,
        "tolerance": Tolerance,
        "strict_types": StrictTypes,
        "no_content": NoContent,
        "descriptors": Descriptors,
        "run_key": RunKey,
    },
    "Verdict": {
        "max_error_increase": MaxErrorIncrease,
        "max_diff_share": MaxDiffShare,
        "max_slowdown": MaxSlowdown,
        "latency_floor": LatencyFloor,
        "max_slow_increase": MaxSlowIncrease,
        "slow_floor": SlowFloor,
        "min_coverage": MinCoverage,
        "min_samples": MinSamples,
        "min_span": MinSpan,
        "min_duration": MinDuration,
        "warmup": Warmup,
        "critical": Critical,
        "critical_endpoint": CriticalEndpoint,
    },
    "Memory and CPU": {
        "shadow_metrics": ShadowMetrics,
        "production_metrics": ProductionMetrics,
        "max_leak": MaxLeak,
        "max_cpu": MaxCpu,
        "memory_after": MemoryAfter,
    },
    "Generated answers": {
        "price": Prices,
        "citations": Citations,
        "refusal": Refusal,
        "similarity": Similarity,
        "max_decision_increase": MaxDecisionIncrease,
        "max_token_increase": MaxTokenIncrease,
        "max_token_time_increase": MaxTokenTimeIncrease,
        "max_cost_increase": MaxCostIncrease,
        "max_similarity_loss": MaxSimilarityLoss,
    },
}
OPTIONS: dict[str, Any] = {name: form for group in GROUPS.values() for name, form in group.items()}


class FilterCommand(TyperCommand):
    """A command with the options of a filter: its help has a heading for each group, its own options stand first."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        records = {one.name: record for one in self.get_params(ctx) if (record := one.get_help_record(ctx)) is not None}
        arguments = [one.name for one in self.params if one.param_type_name == "argument" and one.name in records]
        own = [name for name in records if name not in OPTIONS and name not in arguments]
        for heading, names in {"Arguments": arguments, "Options": own, **GROUPS}.items():
            if listed := [records[name] for name in names if name in records]:
                with formatter.section(heading):
                    formatter.write_dl(listed)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``command`` with every one of OPTIONS, each None by default, in the place of its ``**options``."""
    given = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in given.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    kind = inspect.Parameter.KEYWORD_ONLY
    first = [parameter for parameter in own if parameter.default is parameter.empty]
    last = [parameter.replace(kind=kind) for parameter in own if parameter.default is not parameter.empty]
    options = [inspect.Parameter(name, kind, default=None, annotation=form) for name, form in OPTIONS.items()]
    parameters = [*first, *options, *last]
    command.__signature__ = given.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command

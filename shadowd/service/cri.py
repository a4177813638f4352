"""Which pods run on this node, and their labels: one call to the container runtime (CRI, ``runtime.v1``), by gRPC over
its Unix socket. No right in the cluster is needed for it; but whoever may connect to that socket rules the node's
containers, so it is mounted only where labels are wanted.

The runtime is not trusted: time, bytes and fields are bounded, and what it says of pods are names to compare, no more.
"""

from __future__ import annotations

from pathlib import Path

import trio

from shadowd.capture.pods import MAX_PODS, Pod, PodSelector
from shadowd.capture.selection import RESELECT
from shadowd.compare.protobuf import LEN, WireError, scan_untrusted
from shadowd.config.filter import FilterSpec
from shadowd.errors import ShadowdError
from shadowd.exchange.exchange import Response
from shadowd.protocols.http2_client import Http2Client, Http2Error
from shadowd.redact.quoting import visible
from shadowd.service.roster import Roster

#: Where runtimes listen, of the kubelet's documentation: containerd, CRI-O, k3s, cri-dockerd.
SOCKETS = (
    "/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/k3s/containerd/containerd.sock",
    "/run/cri-dockerd.sock",
)  # fmt: skip
ASK_SECONDS = 2.0
ANSWER_LIMIT = 16 << 20  # bytes; gRPC's own default of a message is 4 MB, the kubelet's of the CRI 16 MB
_FIELDS = 2_000_000  # of the whole answer
_METHOD = b"/runtime.v1.RuntimeService/ListPodSandbox"
#: ListPodSandboxRequest { filter { state { state: SANDBOX_READY } } }: READY is 0, which is left out.
_READY = bytes((0x0A, 2, 0x12, 0))


class PodWatch:
    """Keeps the roster's list of pods as the runtime tells it, while a filter needs that."""

    def __init__(self, roster: Roster, socket: str) -> None:
        self._roster = roster
        self._pods = roster.pods
        self._socket = socket

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if any(wanted.pod and self._pods.asks_runtime(wanted.pod) for _, wanted in self._roster.moving()):
                await self._look()
            else:
                self._pods.problem = ""
            await trio.sleep(RESELECT)

    async def prepare(self, spec: FilterSpec) -> None:
        """Look for a filter that is about to be in force, so that its pods are known at once."""
        if spec.pod and self._pods.asks_runtime(PodSelector.parse(spec.pod)):
            await self._look()

    async def _look(self) -> None:
        """Where that fails what was known stays: a pod that is gone has no cgroup either."""
        try:
            self._pods.running = await list_pods(self._socket)
            self._pods.problem = ""
        except ShadowdError as error:
            self._pods.problem = str(error)


async def list_pods(socket: str = "") -> list[Pod]:
    """The pods that are ready; at ``socket``, or at the first of SOCKETS that is there. Raises ShadowdError."""
    path = socket or next((one for one in SOCKETS if Path(one).exists()), "")
    if not path:
        raise ShadowdError(
            "labels of pods are known to the container runtime alone, and its socket is not here",
            "mount it (kubernetes/pod-labels), say where it is (cri_socket), or select by namespace and name",
        )
    try:
        with trio.fail_after(ASK_SECONDS):
            response = await _call(path)
            # in a thread: a full node's list takes some 20 ms, and the loop has traffic to mirror
            return await trio.to_thread.run_sync(_pods_untrusted, _message(response), abandon_on_cancel=True)
    except trio.TooSlowError:
        why = f"no answer within {ASK_SECONDS:g} s"
    except (OSError, trio.BrokenResourceError) as error:
        why = str(getattr(error, "strerror", None) or "the connection broke")
    except (Http2Error, WireError, UnicodeDecodeError, ValueError) as error:
        why = visible(str(error), 200)
    raise ShadowdError(f"the container runtime at {path} does not list its pods: {why}", "see its log")


async def _call(path: str) -> Response:
    client = Http2Client(body_limit=ANSWER_LIMIT)
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", _METHOD), (b":authority", b"localhost"),
              (b"content-type", b"application/grpc"), (b"te", b"trailers")]  # fmt: skip
    client.open(fields, b"\0" + len(_READY).to_bytes(4, "big") + _READY, [], 0)
    received = 0
    async with await trio.open_unix_socket(path) as stream:
        while True:
            if client.out:
                sent = bytes(client.out)
                client.out.clear()
                await stream.send_all(sent)
            data = await stream.receive_some(1 << 16)
            if not data:
                raise ValueError("it closed the connection")
            received += len(data)
            if received > 2 * ANSWER_LIMIT:
                raise ValueError("more bytes than an answer has")
            for answer in client.feed_untrusted(data, 0):
                if answer.response is None:
                    raise ValueError(f"the call was {answer.failure}")
                return answer.response


def _message(response: Response) -> bytes:
    """The one message of an answer. Raises ValueError."""
    lines = (response.head + response.trailers).split(b"\r\n")
    told = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    status = told.get(b"grpc-status", b"none")
    if response.status != 200 or status != b"0":
        said = told.get(b"grpc-message", b"").decode("utf-8", "replace")
        raise ValueError(f"grpc-status {status.decode('ascii', 'replace')} {said}".strip())
    body = response.body
    if response.body_length != len(body):
        raise ValueError(f"the answer has more than {ANSWER_LIMIT >> 20} MB")
    if len(body) < 5 or body[0] or int.from_bytes(body[1:5], "big") != len(body) - 5:
        raise ValueError("no single message came")
    return body[5:]


def _pods_untrusted(message: bytes) -> list[Pod]:
    """``ListPodSandboxResponse``: items = 1; of each metadata = 2 (name = 1, uid = 2, namespace = 3), labels = 5."""
    budget = [_FIELDS]
    found: list[Pod] = []
    for number, kind, item in scan_untrusted(message, budget):
        if number != 1 or kind != LEN:
            continue
        if len(found) == MAX_PODS:
            raise ValueError(f"more than {MAX_PODS} pods")
        named: dict[int, str] = {}
        labels: dict[str, str] = {}
        for field, sort, value in scan_untrusted(item, budget):
            if field == 2 and sort == LEN:
                named = _texts(value, budget)
            elif field == 5 and sort == LEN:
                entry = _texts(value, budget)
                labels[entry.get(1, "")] = entry.get(2, "")
        found.append(Pod(named.get(3, ""), named.get(1, ""), named.get(2, ""), labels))
    return found


def _texts(message: bytes, budget: list[int]) -> dict[int, str]:
    return {number: value.decode() for number, kind, value in scan_untrusted(message, budget) if kind == LEN}

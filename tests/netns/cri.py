"""A container runtime's list of pods: a real gRPC server on a Unix socket, with Google's own protobuf."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, message_factory

from tests.unit.compare.protos import field, mapped, pool_of

SERVICE = "runtime.v1.RuntimeService"


def _schema() -> Any:
    """Of cri-api's runtime/v1/api.proto what the call has, by its numbers."""
    file = descriptor_pb2.FileDescriptorProto(name="cri.proto", package="runtime.v1", syntax="proto3")
    state = file.enum_type.add(name="PodSandboxState")
    state.value.add(name="SANDBOX_READY", number=0)
    state.value.add(name="SANDBOX_NOTREADY", number=1)
    value = file.message_type.add(name="PodSandboxStateValue")
    field(value, "state", 1, "enum .runtime.v1.PodSandboxState")
    wanted = file.message_type.add(name="PodSandboxFilter")
    field(wanted, "id", 1, "string")
    field(wanted, "state", 2, ".runtime.v1.PodSandboxStateValue")
    mapped(wanted, "label_selector", 3, "string", "string", ".runtime.v1.PodSandboxFilter")
    field(file.message_type.add(name="ListPodSandboxRequest"), "filter", 1, ".runtime.v1.PodSandboxFilter")
    metadata = file.message_type.add(name="PodSandboxMetadata")
    for number, name in enumerate(("name", "uid", "namespace"), 1):
        field(metadata, name, number, "string")
    field(metadata, "attempt", 4, "uint32")
    pod = file.message_type.add(name="PodSandbox")
    field(pod, "id", 1, "string")
    field(pod, "metadata", 2, ".runtime.v1.PodSandboxMetadata")
    field(pod, "state", 3, "enum .runtime.v1.PodSandboxState")
    field(pod, "created_at", 4, "int64")
    mapped(pod, "labels", 5, "string", "string", ".runtime.v1.PodSandbox")
    mapped(pod, "annotations", 6, "string", "string", ".runtime.v1.PodSandbox")
    field(pod, "runtime_handler", 7, "string")
    answer = file.message_type.add(name="ListPodSandboxResponse")
    field(answer, "items", 1, ".runtime.v1.PodSandbox", repeated=True)
    return file


_POOL = pool_of(_schema())


def message(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"runtime.v1.{name}"))


class Runtime:
    """``pods``: (namespace, name, uid, labels); ``fails`` with this instead of an answer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pods: list[tuple[str, str, str, dict[str, str]]] = []
        self.annotation = "x" * 2000  # as real ones have: the last applied configuration
        self.fails: Callable[[Any], object] | None = None
        self.asked: list[Any] = []
        handler = grpc.unary_unary_rpc_method_handler(
            self._list,
            request_deserializer=message("ListPodSandboxRequest").FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        handlers = grpc.method_handlers_generic_handler(SERVICE, {"ListPodSandbox": handler})
        self._server.add_generic_rpc_handlers((handlers,))
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    def _list(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if self.fails is not None:
            self.fails(context)
        answer = message("ListPodSandboxResponse")()
        for namespace, name, uid, labels in self.pods:
            pod = answer.items.add(id=uid, created_at=1, runtime_handler="runc")
            pod.metadata.name, pod.metadata.uid, pod.metadata.namespace = name, uid, namespace
            pod.labels.update(labels)
            pod.annotations["a"] = self.annotation
        return answer

    def stop(self) -> None:
        self._server.stop(0).wait(10)

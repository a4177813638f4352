"""A shop that speaks gRPC, with Google's messages and grpcio: ``python -m tests.netns.grpc_shop PORT PRICE PAUSE``
serves, ``--ask PORT COUNT`` asks each method so often.

PRICE is what each item costs; PAUSE is in seconds, between the messages of a stream.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import descriptor_pb2

from tests.unit.compare.protos import class_of, field, pool_of, set_of

METHODS = ("GetOrder", "Quote", "PutOrder", "WatchOrder")
#: Messages of a stream.
STREAMED = 3


def described(price: str = "unit_price") -> Any:
    """The schema, with this name of an item's price. Quote says that it changes nothing."""
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    item = file.message_type.add(name="Item")
    field(item, "name", 1, "string")
    field(item, price, 2, "sint64")
    order = file.message_type.add(name="Order")
    field(order, "items", 1, ".shop.Item", repeated=True)
    service = file.service.add(name="Shop")
    for name in METHODS:
        method = service.method.add(name=name, input_type=".shop.Order", output_type=".shop.Order")
        if name == "Quote":
            method.options.idempotency_level = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
        method.server_streaming = name == "WatchOrder"
    return file


def schema(price: str = "unit_price") -> bytes:
    return set_of(described(price))


def serve(port: int, price: int, pause: float) -> None:
    made = class_of(pool_of(described()), "shop.Order")
    answer = made(items=[{"name": "hat", "unit_price": price}]).SerializeToString()

    def stream(message: bytes, context: Any) -> Iterator[bytes]:
        for number in range(STREAMED):
            if number:
                time.sleep(pause)
            yield answer

    handlers = {
        name: grpc.unary_stream_rpc_method_handler(stream)
        if name == "WatchOrder"
        else grpc.unary_unary_rpc_method_handler(lambda message, context: answer)
        for name in METHODS
    }
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Shop", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def ask(port: int, count: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for _ in range(count):
            for name in METHODS:
                path = f"/shop.Shop/{name}"
                if name == "WatchOrder":
                    assert len(list(channel.unary_stream(path)(b"", timeout=10))) == STREAMED
                else:
                    channel.unary_unary(path)(b"", timeout=10)


if __name__ == "__main__":
    if sys.argv[1] == "--ask":
        ask(int(sys.argv[2]), int(sys.argv[3]))
    else:
        serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))

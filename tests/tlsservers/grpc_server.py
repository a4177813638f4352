"""A server of grpcio, and with ``call`` its client: ``python grpc_server.py PORT CERTIFICATE KEY LOG [call COUNT]``.

By the path of its file, for it needs grpcio alone. Any method echoes; the server writes each path down.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

port, certificate, key, log = sys.argv[1:5]
pem = Path(certificate).read_bytes()


def same(message):
    return message


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        def echo(message, context):
            with open(log, "a") as file:
                print(details.method, len(message), file=file)
            return message

        return grpc.unary_unary_rpc_method_handler(echo, same, same)


if sys.argv[5:6] == ["call"]:
    with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(pem)) as channel:
        for number in range(int(sys.argv[6])):
            message = bytes([number % 256]) * number
            assert channel.unary_unary(f"/shop.Shop/Get{number}", same, same)(message, timeout=20) == message
else:
    server = grpc.server(ThreadPoolExecutor(4), [Echo()])
    server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([(Path(key).read_bytes(), pem)]))
    server.start()
    server.wait_for_termination()

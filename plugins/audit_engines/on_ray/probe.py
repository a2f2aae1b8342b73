"""Ask an address whether a Ray cluster is there: `python -P probe.py ADDRESS` prints a JSON object.

A program of its own, since joining an address that does not answer cannot be cut short: Ray tries
for two minutes and then ends the process. It imports nothing of genaudit.
"""

from __future__ import annotations

import json
import sys

_PING_SECONDS = 10.0


def main(address: str) -> None:
    """Ask, and print what went wrong: an error's type or gRPC's code, and its text; or "" twice."""
    kind = text = ""
    try:
        if address.startswith("ray://"):
            kind, text = _ping(address.removeprefix("ray://"))
        else:
            _join(address)
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller puts it into words
        kind, text = type(error).__name__, str(error)
        if error.__cause__ is not None:
            text += f"\n{error.__cause__}"
    sys.stdout.write("\n" + json.dumps({"kind": kind, "text": text}) + "\n")
    sys.stdout.flush()


def _join(address: str) -> None:
    """Join a cluster."""
    import ray

    ray.init(address, logging_level="ERROR", log_to_driver=False)
    ray.nodes()


def _ping(address: str) -> tuple[str, str]:
    """Call the client server of a cluster once; what went wrong, by gRPC's code, and its words.

    Ray's own client says after half a minute that it has no connection, and not why.
    """
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import ray_client_pb2, ray_client_pb2_grpc

    stub = ray_client_pb2_grpc.RayletDriverStub(init_grpc_channel(address))
    ping = ray_client_pb2.ClusterInfoRequest(type=ray_client_pb2.ClusterInfoType.PING)
    try:
        stub.ClusterInfo(ping, timeout=_PING_SECONDS, metadata=[("client_id", "genaudit")])
    except grpc.RpcError as error:
        return error.code().name, error.details() or ""
    return "", ""


if __name__ == "__main__":
    main(sys.argv[1])

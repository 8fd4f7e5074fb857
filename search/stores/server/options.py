"""How to reach a Qdrant server: plain values, from whoever reads the settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to reach a Qdrant server, and what its collections are made with.

    Attributes:
        url: `http://…` or `https://…`, with a port or Qdrant's own.
        api_key: sent with every request; never in a text this makes.
        grpc: talk gRPC where the client can.
        certificate: file of the authority that signed the server's certificate; None: the system's.
        timeout: seconds for one request.
        retries: how often a request that failed is made again.
        shards: of a collection; 0 leaves it to the server.
        replicas: copies of each shard.
        ordering: of writes: `weak`, `medium` or `strong`.
        consistency: of reads: `all`, `majority`, `quorum` or a number of replicas that must agree.
        prefix: every name on the server begins with it.
    """

    url: str
    api_key: str = field(default="", repr=False)
    grpc: bool = False
    grpc_port: int = 6334
    certificate: Path | None = None
    timeout: int = 10
    retries: int = 2
    shards: int = 0
    replicas: int = 1
    ordering: str = "strong"
    consistency: str = "majority"
    prefix: str = "latewood"

"""Qdrant's gRPC services over the client's in-memory engine."""

# ruff: noqa: N802 - methods are called as the protocol calls them

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from qdrant_client import grpc as q
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc.collections_service_pb2_grpc import (
    CollectionsServicer,
    add_CollectionsServicer_to_server,
)
from qdrant_client.grpc.points_service_pb2_grpc import PointsServicer, add_PointsServicer_to_server
from qdrant_client.grpc.qdrant_pb2_grpc import QdrantServicer, add_QdrantServicer_to_server
from qdrant_memory import LockedClient

DONE = q.UpdateResult(operation_id=0, status=q.UpdateStatus.Completed)
_SCHEMA = {
    q.FieldType.FieldTypeKeyword: models.PayloadSchemaType.KEYWORD,
    q.FieldType.FieldTypeInteger: models.PayloadSchemaType.INTEGER,
    q.FieldType.FieldTypeFloat: models.PayloadSchemaType.FLOAT,
    q.FieldType.FieldTypeDatetime: models.PayloadSchemaType.DATETIME,
}


def answering(work: Callable[..., Any]) -> Callable[..., Any]:
    """What the engine refuses is an error of the protocol."""

    def answered(service: Any, request: Any, context: grpc.ServicerContext) -> Any:
        service.requests.append(work.__name__)
        if service.api_key and ("api-key", service.api_key) not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid API key or JWT")
        try:
            return work(service, request)
        except ValueError as error:
            missing = str(error).endswith("not found")
            code = grpc.StatusCode.NOT_FOUND if missing else grpc.StatusCode.INVALID_ARGUMENT
            context.abort(code, str(error))
            raise

    return answered


def _filter(request: Any, field: str = "filter") -> models.Filter | None:
    return GrpcToRest.convert_filter(getattr(request, field)) if request.HasField(field) else None


def _selected(request: Any) -> dict[str, Any]:
    vectors = False
    if request.HasField("with_vectors"):
        vectors = GrpcToRest.convert_with_vectors_selector(request.with_vectors)
    payload = True
    if request.HasField("with_payload"):
        payload = GrpcToRest.convert_with_payload_selector(request.with_payload)
    return {"with_payload": payload, "with_vectors": vectors}


class Points(PointsServicer):
    def __init__(self, client: LockedClient, requests: list[str], api_key: str) -> None:
        self.client, self.requests, self.api_key = client, requests, api_key

    @answering
    def Upsert(self, request: Any) -> Any:
        mode = (
            GrpcToRest.convert_update_mode(request.update_mode) if request.HasField("update_mode") else None
        )
        points = [GrpcToRest.convert_point_struct(one) for one in request.points]
        where = _filter(request, "update_filter")
        self.client.upsert(request.collection_name, points, update_filter=where, update_mode=mode)
        return q.PointsOperationResponse(result=DONE)

    @answering
    def UpdateBatch(self, request: Any) -> Any:
        operations = [GrpcToRest.convert_points_update_operation(one) for one in request.operations]
        self.client.batch_update_points(request.collection_name, operations)
        return q.UpdateBatchResponse(result=[DONE] * len(operations))

    @answering
    def Delete(self, request: Any) -> Any:
        self.client.delete(request.collection_name, GrpcToRest.convert_points_selector(request.points))
        return q.PointsOperationResponse(result=DONE)

    @answering
    def Get(self, request: Any) -> Any:
        ids = [GrpcToRest.convert_point_id(one) for one in request.ids]
        found = self.client.retrieve(request.collection_name, ids, **_selected(request))
        return q.GetResponse(result=[RestToGrpc.convert_retrieved_point(one) for one in found])

    @answering
    def Scroll(self, request: Any) -> Any:
        offset = GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None
        found, after = self.client.scroll(
            request.collection_name,
            _filter(request),
            limit=request.limit,
            offset=offset,
            order_by=GrpcToRest.convert_order_by(request.order_by) if request.HasField("order_by") else None,
            **_selected(request),
        )
        following = None if after is None else RestToGrpc.convert_extended_point_id(after)
        result = [RestToGrpc.convert_retrieved_point(one) for one in found]
        return q.ScrollResponse(next_page_offset=following, result=result)

    @answering
    def Count(self, request: Any) -> Any:
        found = self.client.count(request.collection_name, _filter(request))
        return q.CountResponse(result=q.CountResult(count=found.count))

    @answering
    def QueryBatch(self, request: Any) -> Any:
        asked = [GrpcToRest.convert_query_points(one) for one in request.query_points]
        answers = self.client.query_batch_points(request.collection_name, asked)
        lists = [[RestToGrpc.convert_scored_point(point) for point in one.points] for one in answers]
        return q.QueryBatchResponse(result=[q.BatchResult(result=one) for one in lists])

    @answering
    def Facet(self, request: Any) -> Any:
        found = self.client.facet(request.collection_name, request.key, _filter(request), limit=request.limit)
        return q.FacetResponse(hits=[RestToGrpc.convert_facet_value_hit(one) for one in found.hits])

    @answering
    def CreateFieldIndex(self, request: Any) -> Any:
        self.client.create_payload_index(
            request.collection_name, request.field_name, _SCHEMA[request.field_type]
        )
        return q.PointsOperationResponse(result=DONE)


class Collections(CollectionsServicer):
    def __init__(self, client: LockedClient, requests: list[str], api_key: str) -> None:
        self.client, self.requests, self.api_key = client, requests, api_key

    @answering
    def Create(self, request: Any) -> Any:
        vectors: Any = {}
        if request.HasField("vectors_config"):
            vectors = GrpcToRest.convert_vectors_config(request.vectors_config)
        sparse = GrpcToRest.convert_sparse_vector_config(request.sparse_vectors_config)
        done = self.client.create_collection(
            request.collection_name, vectors_config=vectors, sparse_vectors_config=sparse
        )
        return q.CollectionOperationResponse(result=done)

    @answering
    def Delete(self, request: Any) -> Any:
        return q.CollectionOperationResponse(result=self.client.delete_collection(request.collection_name))

    @answering
    def CollectionExists(self, request: Any) -> Any:
        exists = self.client.collection_exists(request.collection_name)
        return q.CollectionExistsResponse(result=q.CollectionExists(exists=exists))

    @answering
    def Get(self, request: Any) -> Any:
        info = RestToGrpc.convert_collection_info(self.client.get_collection(request.collection_name))
        return q.GetCollectionInfoResponse(result=info)

    @answering
    def List(self, request: Any) -> Any:
        names = [one.name for one in self.client.get_collections().collections]
        return q.ListCollectionsResponse(collections=[q.CollectionDescription(name=one) for one in names])

    @answering
    def ListAliases(self, request: Any) -> Any:
        found = self.client.get_aliases().aliases
        return q.ListAliasesResponse(aliases=[RestToGrpc.convert_alias_description(one) for one in found])

    @answering
    def UpdateAliases(self, request: Any) -> Any:
        changes = [GrpcToRest.convert_alias_operations(one) for one in request.actions]
        return q.CollectionOperationResponse(result=self.client.update_collection_aliases(changes))


class Root(QdrantServicer):
    def __init__(self, requests: list[str], api_key: str) -> None:
        self.requests, self.api_key = requests, api_key

    @answering
    def HealthCheck(self, request: Any) -> Any:
        return q.HealthCheckReply(title="qdrant", version="1.20.0")


class QdrantGRPC:
    """The services, in threads of this process."""

    def __init__(self, client: LockedClient | None = None, api_key: str = "") -> None:
        self.client = client or LockedClient()
        self.requests: list[str] = []
        self._server = grpc.server(ThreadPoolExecutor(8))
        add_PointsServicer_to_server(Points(self.client, self.requests, api_key), self._server)
        add_CollectionsServicer_to_server(Collections(self.client, self.requests, api_key), self._server)
        add_QdrantServicer_to_server(Root(self.requests, api_key), self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def start(self) -> QdrantGRPC:
        self._server.start()
        return self

    def close(self) -> None:
        self._server.stop(None).wait()

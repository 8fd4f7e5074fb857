"""Schemathesis over the interface's own description: whatever is sent, what is answered is what it says.

Checks left out, and why:

- positive_data_acceptance: limits are settings and filters a language of their own, so that the description
  admits more than is answered. `test_limits.py` meets each limit at its edge.

`GET /jobs/{id}/events` is left out of single requests: it is answered for as long as a job lives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.testclient import TestClient

from latewood.api.http.app import create_app
from latewood.engine.library import Service

LEFT_OUT = [positive_data_acceptance]
EVENTS = "GET /jobs/{id}/events"
NOTHING_TO_GET_WRONG = {"GET /jobs", "GET /collections", "GET /healthz", "GET /readyz", "GET /metrics"}
CALM = [*HealthCheck]


@pytest.fixture(scope="module")
def app(open_service: Callable[..., Service], hand_in: Any) -> Any:
    service = open_service(limit=50, batch=8)
    made = create_app(service)
    for number in range(3):
        text = {"uri": f"upload:{number}", "metadata": {"year": 2024 + number}}
        hand_in(TestClient(made), f"The ferry number {number} leaves at nine.", **text)
    return made


@pytest.fixture(scope="module")
def schema(app: Any) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def generated(examples: int, **more: Any) -> settings:
    """Few examples are the same each time, so that they surprise nobody; the many of a soak are not."""
    few = examples < 50
    return settings(max_examples=examples, suppress_health_check=CALM, database=None, derandomize=few, **more)


def ask_all(schema: Any, examples: int) -> dict[str, Counter[int]]:
    """Send generated requests to every operation and check each answer; the statuses that came."""
    seen = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.label != EVENTS:
            seen[operation.label] = ask(operation, examples)
    return seen


def ask(operation: Any, examples: int) -> Counter[int]:
    modes = [GenerationMode.POSITIVE]
    if operation.label not in NOTHING_TO_GET_WRONG:
        modes.append(GenerationMode.NEGATIVE)
    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))
    statuses: Counter[int] = Counter()

    @generated(examples)
    @given(case=cases)
    def send(case: Any) -> None:
        answer = case.call()
        statuses[answer.status_code] += 1
        case.validate_response(answer, excluded_checks=LEFT_OUT)
        if answer.status_code >= 400:
            assert set(answer.json()["error"]) == {"code", "message", "request_id"}

    send()
    return statuses


def check_statuses(seen: dict[str, Counter[int]]) -> None:
    assert len(seen) >= 22
    assert {status for statuses in seen.values() for status in statuses} <= {200, 201, 202, 204} | {
        *range(400, 430)
    }


def test_every_operation_answers_as_it_is_described(schema: Any) -> None:
    seen = ask_all(schema, 12)
    check_statuses(seen)
    answered = {label for label, statuses in seen.items() if any(status < 300 for status in statuses)}
    assert {"POST /search", "GET /documents", "POST /documents", "POST /v1/embeddings"} <= answered


def walk(schema: Any, http: TestClient, finish: Any, examples: int, steps: int) -> None:
    """Requests in a row, each with what an earlier one answered: documents, jobs, collections.

    Each row begins with nothing, and waits for what it handed in: the same row has the same answers.
    """
    machine = schema.as_state_machine()

    class Row(machine):  # type: ignore[misc, valid-type]
        def setup(self) -> None:
            for name in http.get("/collections").json()["collections"]:
                assert http.delete(f"/collections/{name}").status_code == 204
            super().setup()

        def validate_response(self, response: Any, case: Any, *args: Any, **kwargs: Any) -> None:
            case.validate_response(response, excluded_checks=LEFT_OUT)
            assert response.status_code < 500
            if response.status_code == 202 and "job_ids" in response.text:
                for job in response.json()["job_ids"]:
                    finish(http, job)

    Row.run(settings=generated(examples, stateful_step_count=steps))


def test_requests_in_a_row_are_answered_as_described(schema: Any, app: Any, finish: Any) -> None:
    walk(schema, TestClient(app), finish, 4, 8)


@pytest.mark.soak
def test_every_operation_answers_as_it_is_described_for_long(schema: Any) -> None:
    check_statuses(ask_all(schema, 400))


@pytest.mark.soak
def test_long_rows_of_requests_are_answered_as_described(schema: Any, app: Any, finish: Any) -> None:
    walk(schema, TestClient(app), finish, 60, 20)

"""The search page in real Chromium, over a stand-in service: fixed answers, no model.

Page and Content-Security-Policy are the real ones; requests and answers pass through the real schemas.
"""

from __future__ import annotations

import re
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from latewood.api.http.routes import web
from latewood.api.http.schemas.documents import Accepted, DocumentOut, DocumentsOut, ErrorDetail, ErrorOut
from latewood.api.http.schemas.search import (
    ExpandBody,
    ExplainOut,
    FacetOut,
    FacetsOut,
    FusionBody,
    FusionOut,
    LegOut,
    ResultOut,
    SearchBody,
    SearchOut,
    SpanOut,
)

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested through playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DESKTOP = {"width": 1200, "height": 900}
PHONE = {"width": 375, "height": 740}
TIMEOUT_MS = 60_000
ALWAYS: dict[str, Any] = {"explain": True, "highlight": True, "expand": ExpandBody(before=1, after=1)}


def hit(ordinal: int, **changes: Any) -> ResultOut:
    """A passage both legs found: dense at this rank, BM25 one further down."""
    dense, bm25 = 1 / (60 + ordinal), 1 / (61 + ordinal)
    legs = {
        "dense": LegOut(rank=ordinal, score=0.7, contribution=dense),
        "bm25": LegOut(rank=ordinal + 1, score=12.34, contribution=bm25),
    }
    values: dict[str, Any] = {
        "id": f"passage-{ordinal}",
        "document_id": f"document-{ordinal}",
        "uri": f"file:///docs/Fahrplan%20S%C3%BCd%20{ordinal}.pdf",
        "title": f"Timetable {ordinal}",
        "score": dense + bm25,
        "text": "The last ferry leaves at 21:40.\nNo ferry on 24 December.\n",
        "headings": ["Timetable", "Evening"],
        "start": 0,
        "end": 57,
        "page_start": 3,
        "page_end": 4,
        "metadata": {},
        "explain": ExplainOut(legs=legs, fused=dense + bm25),
    }
    return ResultOut(**(values | changes))


def document(name: str, **changes: Any) -> DocumentOut:
    values: dict[str, Any] = {"uri": f"file:///docs/{name}", "title": name, "chunks": 3, "version": "v"}
    return DocumentOut(id=f"id-{name}", metadata={}, **(values | changes))


def job(status: str, **changes: Any) -> dict[str, Any]:
    counts = {"added": 0, "updated": 0, "unchanged": 0, "deleted": 0, "total": 1, "finished": 0}
    return {"status": status, "counts": counts, "skipped": [], "errors": [], "error": None} | changes


def done() -> dict[str, Any]:
    return job("completed", counts={"added": 1, "updated": 0})


@dataclass
class Fake:
    """What the service says, and what it was asked."""

    results: list[ResultOut] = field(default_factory=lambda: [hit(1), hit(2)])
    documents: dict[str, list[DocumentOut]] = field(default_factory=lambda: {"default": [document("a.md")]})
    refusals: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    job_states: list[dict[str, Any]] = field(default_factory=list)
    searches: list[SearchBody] = field(default_factory=list)
    uploads: list[tuple[str, list[str]]] = field(default_factory=list)
    removed: list[tuple[str, str]] = field(default_factory=list)
    held: dict[str, threading.Event] = field(default_factory=dict)
    facets: dict[str, dict[Any, int]] = field(default_factory=dict)
    narrowed: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    second: list[ResultOut] | None = None
    key: str = ""
    own: FusionOut = field(
        default_factory=lambda: FusionOut(
            method="convex", k=None, weights={"dense": 0.4, "bm25": 0.6}, foreign=False
        )
    )
    orders: list[str] = field(default_factory=list)


def fake_of(request: Request) -> Fake:
    found: Fake = request.app.state.fake
    return found


FakeOf = Annotated[Fake, Depends(fake_of)]
router = APIRouter()


def refusal(status: int, code: str, message: str) -> JSONResponse:
    error = ErrorDetail(code=code, message=message, request_id="r")
    return JSONResponse(ErrorOut(error=error).model_dump(), status)


async def refuse(request: Request, go_on: Any) -> Response:
    status, code, message = fake_of(request).refusals.get(f"{request.method} {request.url.path}", (0, "", ""))
    key = fake_of(request).key
    if key and request.url.path != "/" and request.headers.get("Authorization") != f"Bearer {key}":
        return refusal(401, "unauthorized", "this service needs a key")
    if code == "not_json":
        return Response(message, status)
    if status:
        return refusal(status, code, message)
    answer: Response = await go_on(request)
    return answer


@router.post("/search")
def search(body: SearchBody, fake: FakeOf) -> SearchOut:
    fake.searches.append(body)
    if (gate := fake.held.get(body.query)) is not None:
        gate.wait(TIMEOUT_MS / 1000)
    if fake.second is not None and body.mode == "bm25":
        return SearchOut(results=fake.second, mode=body.mode, took_ms={"total": 1.0}, request_id="r")
    took = {"embed": 4.1, "search": 1.9, "total": 6.4}
    chosen = (
        FusionOut(**body.fusion.model_dump(exclude={"foreign"}), foreign=False) if body.fusion else fake.own
    )
    return SearchOut(
        results=fake.results[: body.limit],
        mode=body.mode,
        took_ms=took,
        request_id="r",
        fusion=chosen if body.mode == "hybrid" else None,
    )


@router.get("/collections")
def collections(fake: FakeOf) -> dict[str, list[str]]:
    return {"collections": sorted(fake.documents)}


@router.get("/documents")
def list_documents(
    fake: FakeOf, collection: str, limit: int, cursor: str | None = None, order: str = "id"
) -> Any:
    fake.orders.append(order)
    if collection not in fake.documents:
        return refusal(404, "collection_not_found", f"no collection {collection!r} here")
    everything = fake.documents[collection]
    first = 0 if cursor is None else [each.id for each in everything].index(cursor) + 1
    page = everything[first : first + limit]
    more = first + limit < len(everything)
    return DocumentsOut(documents=page, next_cursor=page[-1].id if more else None)


@router.post("/documents", status_code=202)
async def upload(request: Request, fake: FakeOf, collection: str) -> Accepted:
    async with request.form() as form:
        names = [part.filename for part in form.getlist("files")]
    fake.uploads.append((collection, names))
    fake.documents.setdefault(collection, []).extend(document(name) for name in names)
    ids = [f"job-{number}" for number, _ in enumerate(names)]
    return Accepted(job_id=ids[0], job_ids=ids, uris=[f"upload:{name}" for name in names])


@router.get("/facets")
def facets(request: Request, fake: FakeOf) -> FacetsOut:
    fake.narrowed.append(dict(request.query_params))
    key = request.query_params["key"]
    values = [FacetOut(value=value, documents=count) for value, count in fake.facets.get(key, {}).items()]
    return FacetsOut(key=key, documents=9, values=values, distinct=len(values))


@router.get("/jobs")
def list_jobs(fake: FakeOf) -> dict[str, Any]:
    return {"jobs": fake.jobs}


@router.post("/jobs/{job_id}/cancel", status_code=202)
def cancel(job_id: str, fake: FakeOf) -> dict[str, Any]:
    fake.cancelled.append(job_id)
    fake.jobs = [one | {"status": "cancelled"} if one["id"] == job_id else one for one in fake.jobs]
    return {"id": job_id}


@router.get("/jobs/{job_id}")
def show_job(job_id: str, fake: FakeOf) -> dict[str, Any]:
    return {"id": job_id} | fake.job_states.pop(0)


@router.delete("/documents/{document_id}", status_code=204)
def remove(document_id: str, fake: FakeOf, collection: str) -> Response:
    fake.removed.append((collection, document_id))
    fake.documents[collection] = [each for each in fake.documents[collection] if each.id != document_id]
    return Response(status_code=204)


def create_fake_app() -> FastAPI:
    app = FastAPI()
    app.include_router(web.router)
    app.include_router(router)
    app.middleware("http")(refuse)
    return app


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FastAPI, str]]:
    """The stand-in on a free loopback port, and its address."""
    app = create_fake_app()
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="fake service")
        thread.start()
        yield app, f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser(served: tuple[FastAPI, str]) -> Iterator[Any]:
    """A browser's window; the page keeps nothing, so that every test may open its tab in it."""
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium.new_context(base_url=served[1])
        chromium.close()


@pytest.fixture
def fake(served: tuple[FastAPI, str]) -> Fake:
    """A fresh stand-in; set what it says before the page is opened."""
    served[0].state.fake = Fake()
    return served[0].state.fake


@pytest.fixture
def viewport() -> dict[str, int]:
    return DESKTOP


@pytest.fixture
def page(browser: Any, served: tuple[FastAPI, str], fake: Fake, viewport: dict[str, int]) -> Iterator[Any]:
    """A tab that fails its test when the script throws, the policy blocks, or a request leaves the origin."""
    base = served[1]
    problems: list[str] = []
    tab = browser.new_page()
    tab.add_init_script("sessionStorage.started || localStorage.clear(); sessionStorage.started = 1")
    tab.set_viewport_size(viewport)
    tab.set_default_timeout(TIMEOUT_MS)
    tab.on("pageerror", lambda error: problems.append(f"script: {error}"))
    tab.on("console", lambda message: message.type == "error" and problems.append(message.text))
    tab.on("request", lambda request: request.url.startswith((base, "data:")) or problems.append(request.url))
    yield tab
    tab.close()
    expected = "Failed to load resource:"  # the browser's own note of a 4xx, a 5xx or no answer
    assert [problem for problem in problems if not problem.startswith(expected)] == []


def expect(locator: Any) -> Any:
    playwright.expect.set_options(timeout=TIMEOUT_MS)
    return playwright.expect(locator)


def open_and_ask(page: Any, question: str = "last ferry") -> Any:
    """Type a question, press Enter, and return the results."""
    page.goto("/")
    page.keyboard.type(question)
    page.keyboard.press("Enter")
    return page.locator("#results > li")


def test_a_question_typed_on_arrival_is_answered_by_enter_alone(page: Any, fake: Fake) -> None:
    results = open_and_ask(page)

    expect(results).to_have_count(2)
    asked = SearchBody(query="last ferry", mode="hybrid", limit=10, collection="default", **ALWAYS)
    assert fake.searches == [asked]
    expect(page.get_by_role("status").first).to_have_text("2 passages in 6.40 ms")
    expect(page.locator("#query")).to_be_focused()


def test_a_result_shows_what_is_needed_to_cite_it(page: Any) -> None:
    first = open_and_ask(page).first

    expect(first.get_by_role("heading")).to_have_text("1. Timetable 1")
    expect(first).to_contain_text("/docs/Fahrplan Süd 1.pdf · pages 3–4")
    expect(first).to_contain_text("Timetable › Evening")
    expect(first.locator(".passage")).to_have_text(
        "The last ferry leaves at 21:40.\nNo ferry on 24 December."
    )
    expect(first).to_contain_text("score 0.0325")


def test_the_words_that_match_are_marked_and_the_best_sentence_is_underlined(page: Any, fake: Fake) -> None:
    text = "\n🚢 No ferry at night. The last <b>ferry</b> leaves at 21:40.\n"

    def span(words: str, start: int = 0) -> SpanOut:
        at = text.index(words, start)
        return SpanOut(start=at, end=at + len(words))

    best = "The last <b>ferry</b> leaves at 21:40."
    marks = [span("ferry"), span("last"), span("ferry", 20)]
    fake.results = [hit(1, text=text, highlights=marks, sentence=span(best))]
    passage = open_and_ask(page).nth(0).locator(".passage")

    expect(passage).to_have_text("🚢 No ferry at night. " + best)
    expect(passage.locator("mark")).to_have_text(["ferry", "last", "ferry"])
    assert "".join(passage.locator(".best").all_text_contents()) == best


def test_text_around_a_passage_is_shown_when_asked(page: Any, fake: Fake) -> None:
    fake.results = [hit(1, before="It was late.", after="Nobody came."), hit(2, before="", after="")]
    results = open_and_ask(page)
    expect(results).to_have_count(2)
    first = results.nth(0)
    button = first.get_by_role("button", name="text around")

    expect(results.nth(1).get_by_role("button", name="text around")).to_have_count(0)
    expect(first).not_to_contain_text("It was late.")
    button.click()
    expect(first.locator(".around")).to_have_text(["It was late.", "Nobody came."])
    expect(button).to_have_attribute("aria-expanded", "true")
    button.click()
    expect(first.locator(".around")).to_have_count(0)


def test_each_document_once_when_documents_are_asked_for(page: Any, fake: Fake) -> None:
    expect(open_and_ask(page)).to_have_count(2)
    page.get_by_label("Show", exact=True).select_option("document")
    expect(page.get_by_role("status").first).to_have_text("2 documents in 6.40 ms")
    assert [asked.group_by for asked in fake.searches] == [None, "document"]


def widths(result: Any) -> dict[str, float]:
    """Percent of the bar, by leg."""
    return {
        part.get_attribute("class"): float(part.evaluate("part => parseFloat(part.style.width)"))
        for part in result.locator(".bar span").all()
    }


def test_the_bar_shows_what_each_leg_contributed(page: Any, fake: Fake) -> None:
    only_dense = ExplainOut(legs={"dense": LegOut(rank=3, score=0.5, contribution=0.01)}, fused=0.01)
    fake.results = [hit(1), hit(2, explain=only_dense, score=0.01)]
    results = open_and_ask(page)
    expect(results).to_have_count(2)
    both, one = results.nth(0), results.nth(1)

    full = 1 / 61 + 1 / 62
    assert widths(both) == pytest.approx({"dense": 100 / 61 / full, "bm25": 100 / 62 / full}, abs=0.01)
    assert widths(one) == pytest.approx({"dense": 1 / full}, abs=0.01)
    expect(both).to_contain_text("Dense: rank 1, score 0.700, adds 0.0164")
    expect(both).to_contain_text("BM25: rank 2, score 12.3, adds 0.0161")
    expect(one).to_contain_text("BM25: not found")


def test_mode_limit_and_collection_reach_the_service(page: Any, fake: Fake) -> None:
    fake.documents["handbook"] = [document("b.md")]
    page.goto("/")
    page.get_by_label("Collection", exact=True).select_option("handbook")
    page.get_by_label("Mode", exact=True).select_option("bm25")
    page.get_by_label("Results").fill("1")
    page.locator("#query").fill("E-4071")
    page.keyboard.press("Enter")

    expect(page.locator("#results > li")).to_have_count(1)
    expect(page.locator("#documents > li")).to_contain_text(["b.md"])
    asked = SearchBody(query="E-4071", mode="bm25", limit=1, collection="handbook", **ALWAYS)
    assert fake.searches == [asked]


def test_another_mode_asks_the_same_question_again(page: Any, fake: Fake) -> None:
    results = open_and_ask(page)
    expect(results).to_have_count(2)
    only_dense = ExplainOut(legs={"dense": LegOut(rank=1, score=0.7, contribution=0.7)}, fused=0.7)
    fake.results = [hit(1, explain=only_dense)]
    page.get_by_label("Mode", exact=True).select_option("dense")

    expect(results).to_have_count(1)
    expect(results).not_to_contain_text("BM25")  # it was not asked, so it did not miss anything
    asked = [(body.query, body.mode) for body in fake.searches]
    assert asked == [("last ferry", "hybrid"), ("last ferry", "dense")]


HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def test_hostile_text_stays_text(page: Any, fake: Fake) -> None:
    named = {"title": HOSTILE, "uri": "file:///docs/" + HOSTILE.replace("/", "%2F")}
    fake.results = [hit(1, **named, text=HOSTILE, headings=[HOSTILE])]
    fake.documents = {"default": [document("a.md", **named)]}
    result = open_and_ask(page).first

    expect(result.get_by_role("heading")).to_have_text(f"1. {HOSTILE}")
    expect(result.locator(".passage")).to_have_text(HOSTILE)
    expect(page.locator("#documents > li")).to_contain_text([HOSTILE])
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "Latewood"


def test_a_hostile_error_message_stays_text(page: Any, fake: Fake) -> None:
    fake.refusals["POST /search"] = (422, "invalid_query", HOSTILE)
    open_and_ask(page)

    expect(page.locator("#search-error")).to_have_text(HOSTILE)
    assert page.locator("main img, main script").count() == 0


def test_a_name_that_is_not_utf8_is_still_shown(page: Any, fake: Fake) -> None:
    fake.results = [hit(1, uri="file:///docs/caf%E9%20100%25.txt", title="")]

    expect(open_and_ask(page).first).to_contain_text("/docs/caf\ufffd 100%.txt")


def test_a_refused_search_says_why_in_words_and_the_next_one_clears_it(page: Any, fake: Fake) -> None:
    message = "query has 9000 characters, the limit is 8192; shorten it"
    results = open_and_ask(page)
    expect(results).to_have_count(2)
    fake.refusals["POST /search"] = (422, "invalid_query", message)
    page.keyboard.press("Enter")

    expect(page.get_by_role("alert").first).to_have_text(message)
    expect(results).to_have_count(0)
    fake.refusals.clear()
    page.keyboard.press("Enter")
    expect(results).to_have_count(2)
    expect(page.locator("#search-error")).to_be_empty()


def test_an_error_that_is_not_the_services_own_is_said_too(page: Any, fake: Fake) -> None:
    fake.refusals["POST /search"] = (502, "not_json", "<html>bad gateway</html>")
    open_and_ask(page)

    expect(page.locator("#search-error")).to_have_text(re.compile("answered 502"))


def test_a_service_that_is_gone_is_said_in_words(page: Any) -> None:
    gone = threading.Event()
    # Set before the page opens: a page that is open may send one more request past a route set later.
    page.route(
        "**/search", lambda route: route.abort("connectionrefused") if gone.is_set() else route.continue_()
    )
    expect(open_and_ask(page)).to_have_count(2)
    gone.set()
    page.keyboard.press("Enter")

    expect(page.locator("#search-error")).to_have_text(re.compile("does not answer.*latewood serve"))


def test_a_late_answer_never_replaces_a_newer_one(page: Any, fake: Fake) -> None:
    gate = fake.held["slow"] = threading.Event()
    with page.expect_request("**/search"):
        results = open_and_ask(page, "slow")
    page.locator("#query").fill("fast")
    with page.expect_event("requestfailed") as given_up:
        page.keyboard.press("Enter")

    expect(results).to_have_count(2)
    expect(page.locator("#search-error")).to_be_empty()
    gate.set()
    assert given_up.value.post_data_json["query"] == "slow"


def test_the_keyboard_reaches_everything_that_matters(page: Any) -> None:
    results = open_and_ask(page)
    expect(results).to_have_count(2)
    page.keyboard.press("ArrowDown")
    expect(results.nth(0)).to_be_focused()
    page.keyboard.press("j")
    expect(results.nth(1)).to_be_focused()
    page.keyboard.press("j")
    expect(results.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(results.nth(0)).to_be_focused()

    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.type("either/or")  # the old words are selected, so typing replaces them
    expect(page.locator("#query")).to_have_value("either/or")


def test_the_best_passage_is_shown_whole_and_a_long_one_below_it_is_cut_until_asked_for(
    page: Any, fake: Fake
) -> None:
    lines = [f"line {number}" for number in range(40)]
    fake.results = [hit(1, text="\n".join(lines[:20])), hit(2, text="\n".join(lines)), hit(3)]
    results = open_and_ask(page)
    expect(results).to_have_count(3)
    best, second, third = (results.nth(index) for index in range(3))

    expect(best.get_by_role("button")).to_have_count(0)
    expect(third.get_by_role("button")).to_have_count(0)
    button = second.get_by_role("button")
    expect(button).to_have_text("Show whole passage")
    low = second.bounding_box()["height"]
    assert low < best.bounding_box()["height"]
    button.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    assert second.bounding_box()["height"] > 2 * low


def test_even_the_best_passage_is_cut_when_it_is_very_long(page: Any, fake: Fake) -> None:
    fake.results = [hit(1, text="\n".join(f"line {number}" for number in range(200)))]
    results = open_and_ask(page)
    expect(results.get_by_role("button")).to_have_text("Show whole passage")


def test_an_empty_service_says_how_to_begin(page: Any, fake: Fake) -> None:
    fake.documents = {}
    page.goto("/")

    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#begin")).to_have_text("latewood ingest FOLDER")
    expect(page.get_by_role("alert").filter(has_text=re.compile("."))).to_have_count(0)


def test_nothing_found_is_said_and_is_no_error(page: Any, fake: Fake) -> None:
    fake.results = []
    open_and_ask(page)

    expect(page.locator("#status")).to_have_text(re.compile("No passage found"))
    expect(page.locator("#empty")).to_be_hidden()


def pick(page: Any, *names: str) -> None:
    files = [{"name": name, "mimeType": "text/plain", "buffer": b"words"} for name in names]
    page.get_by_label("Add files to this collection").set_input_files(files)
    page.get_by_role("button", name="Upload").click()


def test_uploaded_files_are_followed_until_they_can_be_searched(page: Any, fake: Fake) -> None:
    fake.documents = {}
    problem = {"uri": "upload:b.pdf", "code": "encrypted", "message": "the PDF asks for a password"}
    failed = job("completed", errors=[problem])
    fake.job_states = [job("in_progress"), done(), failed]
    page.goto("/")
    expect(page.locator("#empty")).to_be_visible()
    pick(page, "a b.txt", "b.pdf")

    expect(page.locator("#uploads > li")).to_have_text(
        ["✓ a b.txt: added", "✗ b.pdf: the PDF asks for a password"]
    )
    expect(page.locator("#library-status")).to_have_text("1 file can be searched, 1 file could not be read.")
    expect(page.locator("#documents > li")).to_contain_text(["a b.txt", "b.pdf"])
    expect(page.locator("#empty")).to_be_hidden()
    expect(page.locator("#progress")).to_be_hidden()
    assert fake.uploads == [("default", ["a b.txt", "b.pdf"])]


def test_a_job_that_fails_as_a_whole_says_why(page: Any, fake: Fake) -> None:
    fake.job_states = [job("failed", error={"code": "disk_full", "message": "12 MB free, 512 needed"})]
    page.goto("/")
    pick(page, "a.txt")

    expect(page.locator("#uploads > li")).to_have_text(["✗ a.txt: 12 MB free, 512 needed"])


def test_a_refused_upload_says_why_and_can_be_tried_again(page: Any, fake: Fake) -> None:
    fake.refusals["POST /documents"] = (413, "too_large", "the body is over 200 bytes; send less")
    page.goto("/")
    pick(page, "a.txt")
    expect(page.locator("#library-error")).to_have_text("the body is over 200 bytes; send less")
    expect(page.locator("#progress")).to_be_hidden()

    fake.refusals.clear()
    fake.job_states = [done()]
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#library-status")).to_have_text("1 file can be searched.")
    expect(page.locator("#library-error")).to_be_empty()


def test_a_document_is_removed_once_that_is_confirmed(page: Any, fake: Fake) -> None:
    fake.documents = {"default": [document("a.md"), document("b.md")]}
    questions: list[str] = []
    page.goto("/")
    button = page.get_by_role("button", name="Remove a.md")
    page.once("dialog", lambda dialog: dialog.dismiss())
    button.click()
    assert fake.removed == []

    page.once("dialog", lambda dialog: (questions.append(dialog.message), dialog.accept()))
    button.click()
    expect(page.locator("#documents > li")).to_contain_text(["b.md"])
    expect(page.locator("#library-status")).to_have_text("Removed a.md.")
    expect(page.locator("#library-title")).to_be_focused()
    assert fake.removed == [("default", "id-a.md")]
    assert "comes back with its next ingest" in questions[0]


def test_passages_of_a_removed_document_leave_the_results(page: Any, fake: Fake) -> None:
    fake.documents = {"default": [document("a.md"), document("b.md")]}
    results = open_and_ask(page)
    expect(results).to_have_count(2)
    fake.results = [hit(2)]
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Remove a.md").click()

    expect(results).to_have_count(1)
    assert [body.query for body in fake.searches] == ["last ferry", "last ferry"]


def test_removing_the_last_document_says_how_to_begin_again(page: Any) -> None:
    page.goto("/")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Remove a.md").click()

    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#documents > li")).to_have_count(0)


def test_a_long_list_of_documents_comes_a_page_at_a_time(page: Any, fake: Fake) -> None:
    fake.documents = {"default": [document(f"{number:02}.md") for number in range(45)]}
    page.goto("/")
    items, more = page.locator("#documents > li"), page.get_by_role("button", name="Show more documents")
    for count in (20, 40):
        expect(items).to_have_count(count)
        more.click()

    expect(items).to_have_count(45)
    expect(more).to_be_hidden()
    expect(items.nth(40).get_by_role("button")).to_be_focused()


@pytest.mark.parametrize("viewport", [PHONE], ids=["phone"])
def test_a_phone_never_scrolls_sideways(page: Any, fake: Fake) -> None:
    long = "Donaudampfschifffahrtsgesellschaft" * 20
    named = {"title": long, "uri": f"file:///{long}"}
    fake.results = [hit(1, **named, text=long, headings=[long]), hit(2)]
    fake.documents = {"default": [document("a.md", **named)], "c" * 63: []}
    expect(open_and_ask(page)).to_have_count(2)
    expect(page.locator("#documents > li")).to_have_count(1)

    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    expect(page.locator("#query")).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="Remove")).to_be_visible()
    page.locator("#more summary").click()
    page.get_by_label("Compare with a second setting").check()
    shown = "[...document.querySelectorAll('input, select')].filter(x => x.offsetParent)"
    small = f"{shown}.filter(x => x.offsetHeight < 44).map(x => x.id)"
    assert page.evaluate(small) == []


CONTRAST = """() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = numbers(color).map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    const color = getComputedStyle(node).backgroundColor;
    return numbers(color)[3] === 0 ? ground(node.parentElement) : color;
  };
  const shown = [...document.querySelectorAll("body *")].filter((node) =>
    node.offsetParent && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
  return shown.map((node) => {
    const [a, b] = [light(getComputedStyle(node).color), light(ground(node))].sort((x, y) => y - x);
    return [node.tagName + " " + node.textContent.trim().slice(0, 20), (a + 0.05) / (b + 0.05)];
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page: Any, fake: Fake, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    fake.refusals["POST /documents"] = (413, "too_large", "the body is over 200 bytes; send less")
    expect(open_and_ask(page)).to_have_count(2)
    pick(page, "a.txt")
    expect(page.locator("#library-error")).to_be_visible()
    expect(page.locator("#documents > li")).to_have_count(1)

    ratios = page.evaluate(CONTRAST)
    assert len(ratios) > 20
    assert [(name, ratio) for name, ratio in ratios if ratio < 4.5] == []  # WCAG 2.2, 1.4.3


def test_every_field_has_a_label_and_every_button_a_name(page: Any) -> None:
    expect(open_and_ask(page)).to_have_count(2)
    expect(page.locator("#documents > li")).to_have_count(1)

    unlabelled = "[...document.querySelectorAll('input, select')].filter(x => !x.labels.length).length"
    assert page.evaluate(unlabelled) == 0
    assert page.get_by_role("button", name=re.compile(r"\w")).count() == page.get_by_role("button").count()
    outline = [
        (node.evaluate("x => x.tagName"), node.inner_text()) for node in page.locator("h1, h2, h3").all()
    ]
    assert outline == [
        ("H1", "Latewood"),
        ("H2", "Passages"),
        ("H3", "1. Timetable 1"),
        ("H3", "2. Timetable 2"),
        ("H2", "Documents"),
        ("H2", "Jobs"),
    ]


def test_the_page_may_talk_to_nobody_else(browser: Any, fake: Fake) -> None:
    tab = browser.new_page()
    tab.goto("/")
    blocked = """new Promise((resolve) => {
      document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
      fetch("http://127.0.0.1:9/").catch(() => {});
    })"""
    assert tab.evaluate(blocked) == "connect-src"
    tab.close()


# --- history ------------------------------------------------------------------------------------------------


def ask_again(page: Any, question: str) -> None:
    page.locator("#query").fill(question)
    page.keyboard.press("Enter")
    expect(page.locator("#results > li")).to_have_count(2)
    page.wait_for_url(re.compile("#q=" + question.replace(" ", r"\+")))


def test_what_was_asked_is_offered_again_and_the_way_back_leads_to_it(page: Any, fake: Fake) -> None:
    page.goto("/")
    for question in ("last ferry", "first bus"):
        ask_again(page, question)
    offered = page.locator("#asked-before option")
    expect(offered).to_have_count(2)
    assert [one.get_attribute("value") for one in offered.all()] == ["first bus", "last ferry"]
    with page.expect_response("**/search"):
        page.go_back()
    expect(page.locator("#query")).to_have_value("last ferry")
    expect(page.locator("#results > li")).to_have_count(2)
    assert [body.query for body in fake.searches] == ["last ferry", "first bus", "last ferry"]
    page.reload()
    expect(page.locator("#results > li")).to_have_count(2)
    expect(page.locator("#query")).to_have_value("last ferry")
    expect(offered).to_have_count(2)
    page.locator("#more summary").click()
    page.get_by_role("button", name="Forget what was asked").click()
    expect(offered).to_have_count(0)
    assert page.evaluate("localStorage.length") == 0


# --- ranks, weights, two settings ---------------------------------------------------------------------------


def test_a_result_says_its_rank_before_and_after_fusion(page: Any, fake: Fake) -> None:
    legs = {"dense": LegOut(rank=7, score=0.5, contribution=0.01)}
    fake.results = [hit(1), hit(2, explain=ExplainOut(legs=legs, fused=0.01), score=0.01)]
    results = open_and_ask(page)
    expect(results.nth(0).locator(".moved")).to_have_text("Rank: Dense 1, BM25 2 → 1")
    expect(results.nth(1).locator(".moved")).to_have_text("Rank: Dense 7, BM25 – → 2")


def test_weights_are_asked_for_as_the_controls_say(page: Any, fake: Fake) -> None:
    expect(open_and_ask(page)).to_have_count(2)
    page.locator("#more summary").click()
    with page.expect_response("**/search"):  # a newer question takes an older one's place
        page.get_by_label("Fusion", exact=True).select_option("dbsf")
    expect(page.locator("#dense-shown")).to_have_text("1")
    page.locator("#dense").fill("0.3")
    expect(page.locator("#dense-shown")).to_have_text("0.3")
    expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true")
    assert [body.fusion for body in fake.searches] == [
        None,
        FusionBody(method="dbsf", weights={"dense": 1.0, "bm25": 1.0}),
        FusionBody(method="dbsf", weights={"dense": 0.3, "bm25": 1.0}),
    ]


def test_sliders_show_the_weights_in_force(page: Any, fake: Fake) -> None:
    page.goto("/")
    page.locator("#more summary").click()
    dense, bm25 = page.locator("#dense"), page.locator("#bm25")
    expect(page.locator("#dense-shown")).to_have_text("–")
    expect(dense).to_be_disabled()
    page.locator("#query").fill("last ferry")
    page.keyboard.press("Enter")
    expect(page.locator("#dense-shown")).to_have_text("0.4")
    expect(page.locator("#bm25-shown")).to_have_text("0.6")
    expect(dense).to_be_enabled()
    assert (dense.input_value(), bm25.input_value()) == ("0.4", "0.6")
    with page.expect_response("**/search"):
        page.get_by_label("Mode", exact=True).select_option("bm25")
    expect(dense).to_be_disabled()
    expect(page.get_by_label("Fusion", exact=True)).to_be_disabled()


def test_a_moved_slider_chooses_the_method_in_force_by_name(page: Any, fake: Fake) -> None:
    fake.own = FusionOut(method="rrf", k=20, weights={"dense": 0.7, "bm25": 0.3}, foreign=False)
    expect(open_and_ask(page)).to_have_count(2)
    page.locator("#more summary").click()
    with page.expect_response("**/search"):
        page.locator("#bm25").fill("0.5")
    expect(page.get_by_label("Fusion", exact=True)).to_have_value("rrf")
    expect(page.locator("#dense-shown")).to_have_text("0.7")
    with page.expect_response("**/search"):
        page.get_by_label("Fusion", exact=True).select_option("")
    expect(page.locator("#bm25-shown")).to_have_text("0.3")
    assert [body.fusion for body in fake.searches] == [
        None,
        FusionBody(method="rrf", k=20, weights={"dense": 0.7, "bm25": 0.5}),
        None,
    ]


def test_two_settings_stand_side_by_side_and_say_what_moved(page: Any, fake: Fake) -> None:
    fake.second = [hit(2), hit(1), hit(3)]
    expect(open_and_ask(page)).to_have_count(2)
    fake.searches.clear()
    page.locator("#more summary").click()
    page.get_by_label("Compare with a second setting").check()
    second = page.locator("#results-b > li")
    expect(second).to_have_count(3)
    assert sorted((body.query, body.mode) for body in fake.searches) == [
        ("last ferry", "bm25"),
        ("last ferry", "hybrid"),
    ]
    expect(page.locator("#first-title")).to_have_text("hybrid")
    expect(page.locator("#second-title")).to_have_text("bm25")
    left, right = (page.locator(place).bounding_box() for place in ("#results", "#results-b"))
    for cards in (page.locator("#results > li"), second):
        upper, lower = (cards.nth(place).bounding_box() for place in (0, 1))
        assert lower["y"] >= upper["y"] + upper["height"] + 8  # cards do not touch
    assert right["x"] > left["x"] + left["width"] - 1
    expect(page.locator("#results > li").nth(0).locator(".moved")).to_contain_text("second: 2 ▲")
    expect(second.nth(0).locator(".moved")).to_contain_text("first: 2 ▲")
    expect(second.nth(2).locator(".moved")).to_contain_text("first: not among its first 2")
    page.get_by_label("Compare with a second setting").uncheck()
    expect(page.locator("#second-column")).to_be_hidden()


# --- facets -------------------------------------------------------------------------------------------------


def test_facets_narrow_the_search_and_widen_it_again(page: Any, fake: Fake) -> None:
    fake.facets = {"kind": {"pdf": 4, "markdown": 2}, "team": {"deck": 3, "office": 1}, "language": {"en": 6}}
    fake.results = [hit(1, metadata={"team": "deck"}), hit(2)]
    expect(open_and_ask(page)).to_have_count(2)
    assert fake.narrowed == []  # nobody looked yet
    page.locator("#narrowed").click()
    groups = page.locator("#facets > div")
    expect(groups).to_have_count(2)  # one value alone narrows nothing
    button = page.get_by_role("button", name="pdf (4)")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(button).to_be_focused()
    pdf = {"type": "in", "key": "kind", "value": ["pdf"]}
    assert fake.searches[-1].filters == {"type": "and", "filters": [pdf]}
    page.get_by_role("button", name="deck (3)").click()
    expect(page.get_by_role("button", name="deck (3)")).to_have_attribute("aria-pressed", "true")
    deck = {"type": "in", "key": "team", "value": ["deck"]}
    assert fake.searches[-1].filters == {"type": "and", "filters": [pdf, deck]}
    asked = [one for one in fake.narrowed if one["key"] == "kind"][-1]
    assert '"team"' in asked["filters"]
    assert '"kind"' not in asked["filters"]
    expect(page.locator("#narrowed")).to_have_text("Narrowed to kind pdf, team deck")
    for name in ("pdf (4)", "deck (3)"):
        page.get_by_role("button", name=name).click()
        expect(page.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "false")
    assert fake.searches[-1].filters is None
    expect(page.locator("#narrowed")).to_have_text("Narrow the search")


# --- files and jobs -----------------------------------------------------------------------------------------

DROP = """(names) => {
  const transfer = new DataTransfer();
  for (const name of names) transfer.items.add(new File(["words"], name, { type: "text/plain" }));
  const drag = (type) => document.querySelector("#results-title").dispatchEvent(
    new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: transfer }));
  drag("dragover");
  const over = document.querySelector("#library").classList.contains("over");
  drag("drop");
  return over;
}"""


def test_files_are_handed_in_by_dropping_them(page: Any, fake: Fake) -> None:
    fake.job_states = [done(), done()]
    page.goto("/")
    expect(page.locator("#documents > li")).to_have_count(1)
    assert page.evaluate(DROP, ["a.txt", "b.txt"])
    expect(page.locator("#library-status")).to_have_text("2 files can be searched.")
    expect(page.locator("#library")).not_to_have_class("over")
    assert fake.uploads == [("default", ["a.txt", "b.txt"])]


def test_what_is_sent_so_far_is_told(page: Any, fake: Fake) -> None:
    fake.job_states = [done()]
    page.goto("/")
    page.evaluate(
        """() => {
          window.told = [];
          new MutationObserver(() => told.push(document.querySelector("#library-status").textContent))
            .observe(document.querySelector("#library-status"), { childList: true });
        }"""
    )
    pick(page, "a.txt")
    expect(page.locator("#library-status")).to_have_text("1 file can be searched.")
    told = page.evaluate("told")
    assert told[0] == "Sending 1 file…"
    assert "Sending 1 file: 100 %" in told


def test_jobs_are_shown_followed_and_cancelled(page: Any, fake: Fake) -> None:
    shape = {"collection": "default", "created": "2026-01-01T00:00:00Z"}
    running = job("in_progress") | {"counts": job("")["counts"] | {"total": 9, "finished": 4, "added": 4}}
    failed = job("failed", error={"code": "disk_full", "message": "12 MB free, 512 needed"})
    fake.jobs = [
        running | shape | {"id": "j2", "source": "file:///srv/papers"},
        failed | shape | {"id": "j1", "source": "upload:b.pdf"},
    ]
    page.goto("/")
    items = page.locator("#jobs > li")
    expect(items).to_have_count(2)
    expect(items.nth(0)).to_contain_text("/srv/papers")
    expect(items.nth(0)).to_contain_text("in progress · 4 added · 4 of 9 files · default")
    expect(items.nth(1)).to_contain_text("failed · 12 MB free, 512 needed")
    page.get_by_role("button", name="Cancel /srv/papers").click()
    expect(items.nth(0)).to_contain_text("cancelled")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    assert fake.cancelled == ["j2"]


def test_a_dry_run_is_marked_as_one(page: Any, fake: Fake) -> None:
    shape = {"collection": "default", "created": "2026-01-01T00:00:00Z", "id": "j", "dry_run": True}
    fake.jobs = [done() | shape | {"source": "file:///srv/papers"}]
    page.goto("/")
    expect(page.locator("#jobs > li")).to_contain_text("dry run, nothing is changed · completed · 1 added")


def test_documents_are_listed_newest_first(page: Any, fake: Fake) -> None:
    page.goto("/")
    expect(page.locator("#documents > li")).to_have_count(1)
    assert set(fake.orders) == {"newest"}


# --- keys ---------------------------------------------------------------------------------------------------


def test_a_service_with_keys_is_asked_with_the_one_that_is_given(page: Any, fake: Fake) -> None:
    fake.key = "lw_good"
    page.goto("/")
    form = page.get_by_role("form", name="Key", exact=True)
    expect(form).to_be_visible()
    page.get_by_label("This service needs a key.").fill("lw_good")
    page.keyboard.press("Enter")
    expect(form).to_be_hidden()
    expect(page.locator("#documents > li")).to_have_count(1)
    page.keyboard.type("last ferry")
    page.keyboard.press("Enter")
    expect(page.locator("#results > li")).to_have_count(2)
    assert (
        page.evaluate("Object.keys(localStorage).some((name) => localStorage[name].includes('lw_good'))")
        is False
    )


def test_a_wrong_key_is_refused_in_one_place(page: Any, fake: Fake) -> None:
    fake.key = "lw_good"
    page.goto("/")
    page.get_by_label("This service needs a key.").fill("lw_wrong")
    page.keyboard.press("Enter")
    shown = page.get_by_text("this service needs a key", exact=True)
    expect(shown).to_have_count(1)
    expect(shown).to_be_visible()
    expect(page.locator("#search-error, #library-error, #jobs-error")).to_have_text(["", "", ""])
    page.get_by_label("This service needs a key.").fill("lw_good")
    page.keyboard.press("Enter")
    expect(shown).to_have_count(0)
    expect(page.locator("#documents > li")).to_have_count(1)


# --- axe ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_serious(page: Any, fake: Fake, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    fake.facets = {"kind": {"pdf": 4, "markdown": 2}}
    fake.second = [hit(2), hit(1, before="b", after="a")]
    fake.jobs = [done() | {"id": "j", "source": "upload:a", "collection": "default"}]
    fake.results = [hit(1, before="It was late.", after=""), hit(2)]
    expect(open_and_ask(page)).to_have_count(2)
    page.locator("#more summary").click()
    page.get_by_label("Compare with a second setting").check()
    expect(page.locator("#results-b > li")).to_have_count(2)
    page.locator("#narrowed").click()
    expect(page.locator("#facets button")).to_have_count(2)
    page.locator("#facets button").first.click()
    expect(page.locator("#facets button").first).to_have_attribute("aria-pressed", "true")
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["impact"], [node["html"][:80] for node in one["nodes"]]) for one in found] == []

"""What `latewood serve` does under load: capacity, half of it beside an ingest, twice of it, a restart.

    python -m benchmarks.service            the sample folder, minutes
    python -m benchmarks.service --small    seconds, to see that it runs

Server and clients run on this machine, over loopback, with MiniLM; the clients take their share of the
processor. Questions come from the sample set, each as often as any other.

- overhead: one client after the other; wall time less the service's own `took_ms.total`.
- capacity: clients that ask again as soon as they are answered.
- half: clients that ask half as often as that, evenly, while a folder is ingested.
- twice: questions that come twice as often as capacity, whoever still waits; then half again.
- restart: documents are handed in and questions asked while the service gets SIGTERM; then it starts again.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import itertools
import json
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil  # type: ignore[import-untyped]

from benchmarks.measuring import ROOT, environment, latewood

SAMPLES = ROOT / "api" / "samples"
JSON = {"Content-Type": "application/json"}
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=200)


@dataclass(slots=True)
class Seen:
    """What came back. Seconds are those of answers with status 200."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    no_retry: int = 0
    broken: Counter[str] = field(default_factory=Counter)

    def told(self) -> dict[str, Any]:
        """In numbers."""
        found: dict[str, Any] = {
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "broken": dict(self.broken),
            "without_retry_after": self.no_retry,
        }
        if self.seconds:
            points = np.percentile(np.array(self.seconds) * 1e3, [50, 99, 100]).round(1).tolist()
            found |= dict(zip(("p50_ms", "p99_ms", "max_ms"), points, strict=True))
        return found


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done."""

    clients: int
    seconds: float
    questions: int
    copies: int


WHOLE, SMALL = Scale(32, 120.0, 200, 8), Scale(4, 1.5, 10, 1)


class Served:
    """`latewood serve` on a data folder."""

    def __init__(self, data: Path) -> None:
        words = latewood("serve", "--port", "0", "--json", "--data", data)
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            words, cwd=data.parent, env=environment(), stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"the service did not start: {self._log.read()[-2000:]}")
        self.url = json.loads(line)["url"]
        while httpx.get(f"{self.url}/readyz").status_code != 200:
            time.sleep(0.1)

    def resident(self) -> int:
        """Bytes of memory of the service and its children."""
        root = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in (root, *root.children(recursive=True)))

    def stop(self) -> float:
        """SIGTERM; seconds until it had ended."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._log.close()
        return time.monotonic() - started


@contextmanager
def serving(data: Path) -> Iterator[Served]:
    """A service that is stopped in the end, if it still runs."""
    served = Served(data)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.stop()


def questions() -> list[str]:
    """The sample set's."""
    lines = (SAMPLES / "judged" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


async def ask(http: httpx.AsyncClient, query: str, seen: Seen) -> None:
    """One question."""
    started = time.perf_counter()
    try:
        answer = await http.post("/search", json={"query": query, "limit": 10})
    except httpx.TransportError as error:
        seen.broken[type(error).__name__] += 1
        return
    seen.statuses[answer.status_code] += 1
    if answer.status_code == 200:
        seen.seconds.append(time.perf_counter() - started)
    elif "Retry-After" not in answer.headers:
        seen.no_retry += 1


async def closed(http: httpx.AsyncClient, scale: Scale, seen: Seen) -> float:
    """Clients that ask again once they are answered; answers a second."""
    end = time.monotonic() + scale.seconds / 4
    asked = itertools.cycle(questions())

    async def client() -> None:
        while time.monotonic() < end:
            await ask(http, next(asked), seen)

    started = time.monotonic()
    await asyncio.gather(*(client() for _ in range(scale.clients)))
    return len(seen.seconds) / (time.monotonic() - started)


async def paced(http: httpx.AsyncClient, scale: Scale, rate: float, seen: Seen) -> None:
    """As many clients, each asking at its own even pace, `rate` a second together."""
    end, every = time.monotonic() + scale.seconds, scale.clients / rate
    asked = itertools.cycle(questions())

    async def client(number: int) -> None:
        due = time.monotonic() + every * number / scale.clients
        while due < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await ask(http, next(asked), seen)
            due += every

    await asyncio.gather(*(client(number) for number in range(scale.clients)))


async def flooded(http: httpx.AsyncClient, seconds: float, rate: float, seen: Seen) -> None:
    """Questions at an even pace, however many still wait."""
    asked, tasks = itertools.cycle(questions()), []
    started = time.monotonic()
    for number in range(int(seconds * rate)):
        await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
        tasks.append(asyncio.create_task(ask(http, next(asked), seen)))
    await asyncio.gather(*tasks)


def with_client(url: str, work: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]]) -> Any:
    """Run `work` with connections to the service."""

    async def run() -> Any:
        async with httpx.AsyncClient(base_url=url, timeout=120, limits=LIMITS) as http:
            return await work(http)

    return asyncio.run(run())


def overhead(url: str, scale: Scale) -> dict[str, Any]:
    """What HTTP adds, one question after the other: through httpx, and through the standard library."""
    plain = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    plain.connect()
    plain.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def asked(body: str) -> Any:
        plain.request("POST", "/search", body, JSON)
        return json.loads(plain.getresponse().read())

    added: dict[str, list[float]] = {"httpx": [], "http.client": []}
    whole = []
    with httpx.Client(base_url=url, timeout=60) as client:
        sides = {
            "httpx": lambda body: client.post("/search", content=body, headers=JSON).json(),
            "http.client": asked,
        }
        for query in itertools.islice(itertools.cycle(questions()), scale.questions):
            body = json.dumps({"query": query, "limit": 10})
            for name, side in sides.items():
                started = time.perf_counter()
                answer = side(body)
                whole.append((time.perf_counter() - started) * 1e3)
                added[name].append(whole[-1] - answer["took_ms"]["total"])
    plain.close()
    return {
        "p50_ms": round(float(np.median(whole)), 1),
        "http_adds_p50_ms": {name: round(float(np.median(took)), 2) for name, took in added.items()},
    }


def half(served: Served, data: Path, scale: Scale, rate: float) -> dict[str, Any]:
    """Half of capacity, while folders are ingested into another collection, one after the other."""
    seen, ended = Seen(), []

    async def work(http: httpx.AsyncClient) -> None:
        asking = asyncio.create_task(paced(http, scale, rate, seen))
        while not asking.done():
            words = latewood("ingest", data.parent / "papers", "--collection", f"c{len(ended)}", "--json")
            ingest = await asyncio.create_subprocess_exec(
                *words, "--data", str(data), env=environment(), stdout=-3, stderr=-3
            )
            ended.append(await ingest.wait())
        await asking

    with_client(served.url, work)
    return {
        "rate": round(rate, 1),
        **seen.told(),
        "ingests": len(ended),
        "ingests_failed": sum(map(bool, ended)),
    }


def twice(served: Served, scale: Scale, capacity: float) -> dict[str, Any]:
    """Twice of capacity, memory before and after, and half of it again."""
    before, seen, after = served.resident(), Seen(), Seen()
    seconds = scale.seconds / 4
    with_client(served.url, lambda http: flooded(http, seconds, 2 * capacity, seen))
    middle = served.resident()
    with_client(served.url, lambda http: flooded(http, seconds, 2 * capacity, seen))
    memory = [round(size / 2**20) for size in (before, middle, served.resident())]
    quiet = Scale(scale.clients, scale.seconds / 4, 0, 0)
    with_client(served.url, lambda http: paced(http, quiet, capacity / 2, after))
    return {**seen.told(), "mib": memory, "after": after.told()}


def restart(served: Served, data: Path, scale: Scale) -> dict[str, Any]:
    """Hand in and ask, stop the service in the middle, start it again: what was acknowledged is there."""
    acknowledged: list[str] = []
    seen = Seen()

    async def write(http: httpx.AsyncClient) -> None:
        for number in itertools.count():
            text = {"text": f"Note number {number} of the log.", "uri": f"upload:note-{number}"}
            try:
                answer = await http.post("/documents", params={"collection": "notes"}, json=text)
            except httpx.TransportError:
                return
            if answer.status_code == 202:
                acknowledged.append(text["uri"])

    async def work(http: httpx.AsyncClient) -> float:
        writing = asyncio.create_task(write(http))
        asking = asyncio.create_task(paced(http, scale_of(scale), 20.0, seen))
        await asyncio.sleep(min(5.0, scale.seconds))
        seconds = await asyncio.to_thread(served.stop)
        asking.cancel()
        await asyncio.gather(writing, asking, return_exceptions=True)
        return seconds

    seconds = with_client(served.url, work)
    with serving(data) as again, httpx.Client(base_url=again.url, timeout=60) as http:
        while any(job["status"] in {"queued", "in_progress"} for job in http.get("/jobs").json()["jobs"]):
            time.sleep(0.1)
        found = {uri for page in pages(http, "notes") for uri in page}
    lost = len(set(acknowledged) - found)
    return {**seen.told(), "stop_s": round(seconds, 1), "acknowledged": len(acknowledged), "lost": lost}


def scale_of(scale: Scale) -> Scale:
    """For as long as someone asks: ended from outside."""
    return Scale(min(4, scale.clients), 600.0, 0, 0)


def pages(http: httpx.Client, collection: str) -> Iterator[list[str]]:
    """The uris of a collection, a page at a time."""
    cursor: str | None = ""
    while cursor is not None:
        params = {"collection": collection, "limit": 1000} | ({"cursor": cursor} if cursor else {})
        page = http.get("/documents", params=params).json()
        yield [document["uri"] for document in page["documents"]]
        cursor = page["next_cursor"]


def prepare(data: Path, papers: Path, scale: Scale) -> None:
    """Ingest the sample documents, through the service that runs; and copies of some, to ingest later."""
    words = latewood("ingest", SAMPLES / "documents", "--data", data, "--json")
    subprocess.run(words, env=environment(), check=True, stdout=-3, stderr=-3)
    papers.mkdir()
    texts = sorted((SAMPLES / "documents").rglob("*.md"))
    for number, path in itertools.product(range(scale.copies), texts):
        (papers / f"{number}-{path.name}").write_text(f"Copy {number}.\n\n{path.read_text(encoding='utf-8')}")


def run(scale: Scale) -> dict[str, Any]:
    """Every part, in order."""
    with tempfile.TemporaryDirectory(prefix="lw-") as name:
        data = Path(name) / "data"
        with serving(data) as served:
            prepare(data, Path(name) / "papers", scale)
            found: dict[str, Any] = {"overhead": overhead(served.url, scale)}
            seen = Seen()
            capacity = with_client(served.url, lambda http: closed(http, scale, seen))
            found["capacity"] = {"per_second": round(capacity, 1), **seen.told()}
            found["half"] = half(served, data, scale, capacity / 2)
            found["twice"] = twice(served, scale, capacity)
            found["restart"] = restart(served, data, scale)
        return found


def main() -> None:
    """Print what was measured, as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--seconds", type=float, help="of the half load; others take a quarter of it")
    given = parser.parse_args()
    scale = SMALL if given.small else WHOLE
    scale = scale if given.seconds is None else replace(scale, seconds=given.seconds)
    print(json.dumps(run(scale), indent=2))


if __name__ == "__main__":
    main()

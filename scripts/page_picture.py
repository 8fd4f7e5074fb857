"""Take the README's picture of the search page, from the sample collection and a real service.

    python scripts/page_picture.py [OUT]

OUT defaults to `docs/page.png`. The script needs Chromium and playwright (extra `dev`). Fonts differ between
machines, so the picture is not compared byte by byte.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from latewood import Client

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "page.png"
SAMPLES = ROOT / "api" / "samples" / "documents"
SIZE = (1200, 900)
QUESTION = "How many litres of fuel did the fleet burn in 2024?"
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
_TIMEOUT_MS = 60_000


@contextmanager
def sample_service(data: Path) -> Iterator[str]:
    """Serve `data` on a free loopback port, hand in the sample documents, and give the address.

    The samples are uploads, so the picture shows no path of this machine.
    """
    latewood = [sys.executable, "-m", "latewood.api.cli.main"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    serve = [*latewood, "serve", "--port", "0", "--data", str(data)]
    with subprocess.Popen(
        serve, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment
    ) as running:
        try:
            seen = []
            for line in running.stdout or ():
                seen.append(line)
                if found := _ADDRESS.search(line):
                    hand_in(found[0])
                    yield found[0]
                    return
            raise SystemExit(f"the service ended before it named its address:\n{''.join(seen)}")
        finally:
            running.terminate()


def hand_in(address: str) -> None:
    """Upload every sample document, and wait until all can be searched."""
    with Client(address) as client:
        files = sorted(path for path in SAMPLES.rglob("*") if path.is_file())
        for job in client.add_files(files):
            *_, last = client.follow(job)
            if last["status"] != "completed":
                raise SystemExit(f"the job {job} of a sample ended as {last['status']}: {last['errors']}")


def ask(page: Page, address: str) -> None:
    """Ask the question under two settings, and wait for both answers."""
    page.goto(address)
    page.locator("#query").fill(QUESTION)
    page.keyboard.press("Enter")
    expect(page.locator("#results > li")).to_have_count(10)
    page.locator("#more summary").click()
    page.get_by_label("Compare with a second setting").check()
    expect(page.locator("#results-b > li")).to_have_count(10)
    expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true")


def main(out: Path = PICTURE) -> None:
    """Write the picture to `out`."""
    expect.set_options(timeout=_TIMEOUT_MS)
    chromium = next(
        (path for one in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(one))),
        None,
    )
    if chromium is None:
        raise SystemExit("no Chromium found; install the package chromium")
    with (
        tempfile.TemporaryDirectory() as folder,
        sample_service(Path(folder) / "data") as address,
        sync_playwright() as running,
    ):
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        ask(page, address)
        page.screenshot(path=out)
        browser.close()


if __name__ == "__main__":
    main(*(Path(one) for one in sys.argv[1:2]))

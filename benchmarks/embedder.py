"""The embedder beside sentence-transformers, in one process and one run.

    python -m benchmarks.embedder --data FOLDER    # a folder in the BEIR layout: its corpus.jsonl.gz is read
    python -m benchmarks.embedder --data FOLDER --parts minilm --chunks 300 --documents 20
    python -m benchmarks.embedder --small          # seconds: shows that it runs, its numbers mean nothing

Tokens per CPU second, because they change less than wall seconds with what else the machine does; the sides
take turns, and the better of two rounds counts. sentence-transformers runs as shipped: float32, 32 at a time.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
import torch
from torch.nn import functional

from benchmarks.random_models import VOCABULARY, jina_size, packed, rounded
from embedder.attention import BlockedAttention
from embedder.checkpoint import find_checkpoint
from embedder.engine import load_embedder
from embedder.models import MINILM
from embedder.quantised import missing_for_int8
from embedder.types import Span, SpannedText, Task

PARTS = ("minilm", "query", "jina")
CHARACTERS = 1000  # of a chunk: about 256 tokens
ROUNDS = 2
SENTENCE = "The ferry leaves the harbour at dawn and the pilot boards it behind the lighthouse. "
QUESTION = "when does the last ferry leave the harbour in winter?"  # twelve tokens with its special ones


def best(sides: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """CPU seconds of each side's best round; the sides take turns, after one round that does not count."""
    seconds = dict.fromkeys(sides, float("inf"))
    for turn in range(rounds + 1):
        for name, run in sides.items():
            started = process_time()
            run()
            if turn:
                seconds[name] = min(seconds[name], process_time() - started)
    return seconds


def documents(folder: Path | None, count: int) -> list[SpannedText]:
    """Whole texts of a set, with spans of about `CHARACTERS` characters that end at a space."""
    if folder is None:
        texts: Iterator[str] = (SENTENCE * (5 + 20 * number) for number in range(count))
    else:
        with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
            texts = iter([json.loads(line)["text"] for line, _ in zip(lines, range(count), strict=False)])
    return [SpannedText(text, tuple(_spans(text))) for text in texts if text.strip()]


def _spans(text: str) -> Iterator[Span]:
    start = 0
    while start < len(text):
        end = text.find(" ", start + CHARACTERS)
        end = len(text) if end < 0 or not text[end:].strip() else end
        yield Span(start, end)
        start = end


def chunks_of(asked: Sequence[SpannedText], count: int) -> list[str]:
    """The texts of the first spans."""
    chunks = [one.text[span.start : span.end] for one in asked for span in one.spans]
    return chunks[:count]


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print Markdown."""
    print("\n| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


def minilm(asked: Sequence[SpannedText], chunks: Sequence[str]) -> None:
    """Chunks alone, beside sentence-transformers; and documents at three contexts."""
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(find_checkpoint(MINILM.name).folder), device="cpu")
    theirs.max_seq_length = 512
    ours = {dtype: load_embedder(MINILM.name, device="cpu", dtype=dtype) for dtype in _dtypes()}
    usual = partial(theirs.encode, list(chunks), batch_size=32, normalize_embeddings=True)
    sides: dict[str, Callable[[], object]] = {"sentence-transformers, float32": usual}
    for dtype, embedder in ours.items():
        sides[f"Latewood, {dtype}"] = partial(embedder.embed_texts, chunks, Task.PASSAGE)
    seconds = best(sides)
    tokens = sum(len(ours["float32"].token_offsets(chunk)) for chunk in chunks)
    exact = usual()
    rows = []
    for (name, run), spent in zip(sides.items(), seconds.values(), strict=True):
        cosine = float((np.asarray(run()) * exact).sum(axis=1).min())
        times = seconds["sentence-transformers, float32"] / spent
        rows.append((name, f"{tokens / spent:,.0f}", f"{times:.2f}", f"{cosine:.5f}"))
    print(f"\n{len(chunks)} chunks, {tokens} tokens, each by itself")
    table(("", "tokens per CPU second", "times", "least cosine"), rows)
    for embedder in ours.values():
        embedder.close()
    contexts(asked, partial(theirs.encode, batch_size=32))


def contexts(asked: Sequence[SpannedText], encode: Callable[[list[str]], object]) -> None:
    """Whole documents at both ends of the context dial and as shipped, in the dtype this processor takes."""
    dials = {
        context: load_embedder(MINILM.name, device="cpu", context=context) for context in (0.0, 0.5, 1.0)
    }
    tokens = sum(len(dials[0.0].token_offsets(one.text)) for one in asked)
    texts = chunks_of(asked, sum(len(one.spans) for one in asked))
    sides: dict[str, Callable[[], object]] = {"sentence-transformers": partial(encode, texts)}
    sides |= {f"context {context}": partial(one.embed_documents, asked) for context, one in dials.items()}
    seconds = best(sides)
    naive, theirs = seconds["context 0.0"], seconds["sentence-transformers"]
    print(f"\n{len(asked)} documents, {tokens} tokens")
    table(
        ("", "tokens per CPU second", "times sentence-transformers", "time, context 0 is 1"),
        [
            (name, f"{tokens / spent:,.0f}", f"{theirs / spent:.2f}", f"{spent / naive:.2f}")
            for name, spent in seconds.items()
        ],
    )
    for one in dials.values():
        one.close()


def query() -> None:
    """One question through the engine beside the bare forward of its tokens, and 32 that wait at once."""
    embedder = load_embedder(MINILM.name, device="cpu")
    encoder = embedder._backbone._encoder
    ids = np.array([101, *range(2000, 2010), 102], dtype=np.int32)
    repeat = 50

    def bare() -> None:
        torch.set_num_threads(1)
        for _ in range(repeat):
            encoder.states(Task.QUERY, [ids])

    def engine() -> None:
        for _ in range(repeat):
            embedder.embed_texts([QUESTION], Task.QUERY)

    sides = {
        "bare forward, 12 tokens": bare,
        "engine, 12 tokens": engine,
        "32 in one pack": lambda: encoder.states(Task.QUERY, [ids] * 32),
        "32 texts through the engine": lambda: embedder.embed_texts([QUESTION] * 32, Task.QUERY),
    }
    seconds = best(sides, rounds=5)
    table(
        ("", "CPU milliseconds"),
        [(name, f"{1000 * spent / (repeat if '12' in name else 1):.2f}") for name, spent in seconds.items()],
    )
    embedder.close()


def jina(layers: int, hidden: int, lengths: Sequence[int], pack: int) -> None:
    """Layers of Jina v3's size with random weights, beside transformers' own forward in float32."""
    torch.set_num_threads(1)
    reference = jina_size(layers, hidden)
    encoders = {"bfloat16": packed(jina_size(layers, hidden).to(torch.bfloat16), BlockedAttention())}
    if not missing_for_int8():
        encoders["int8"] = rounded(jina_size(layers, hidden).to(torch.bfloat16), BlockedAttention())
    rate = gemm_rate(hidden)
    rows = []
    for length in lengths:
        count = max(1, pack // length)
        numbers = np.random.default_rng(length)
        asked = [numbers.integers(5, VOCABULARY, length).astype(np.int32) for _ in range(count)]
        padded = torch.from_numpy(np.stack(asked)).long()
        sides: dict[str, Callable[[], object]] = {
            "theirs": partial(_forward, reference, padded),
            **{name: partial(one.states, Task.PASSAGE, asked) for name, one in encoders.items()},
        }
        seconds = best(sides, rounds=1)
        exact = _forward(reference, padded).mean(dim=1)
        tokens = length * count
        operations = tokens * layers * (24 * hidden**2 + 4 * hidden * length)
        for name, encoder in encoders.items():
            means = [states.float().mean(0) for states in encoder.states(Task.PASSAGE, asked)]
            cosine = functional.cosine_similarity(torch.stack(means), exact, dim=-1).min()
            rows.append(
                (
                    length,
                    name,
                    f"{tokens / seconds['theirs'] * layers / 24:,.0f}",
                    f"{tokens / seconds[name] * layers / 24:,.0f}",
                    f"{seconds['theirs'] / seconds[name]:.2f}",
                    f"{100 * operations / seconds[name] / rate:.0f} %",
                    f"{cosine:.6f}",
                )
            )
    print(f"\n{layers} of 24 layers, scaled to 24; plain bfloat16 products: {rate / 1e9:.0f} GFLOP/s")
    heads = ("length", "packed in", "transformers float32, tokens per CPU second", "packed", "times")
    table((*heads, "share of the bfloat16 product rate", "least cosine"), rows)


def _forward(reference: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        states: torch.Tensor = reference(input_ids=ids).last_hidden_state
    return states


def _dtypes() -> tuple[str, ...]:
    """Those this machine has."""
    return ("float32", "bfloat16") if missing_for_int8() else ("float32", "bfloat16", "int8")


def gemm_rate(hidden: int) -> float:
    """Operations per CPU second of torch's own bfloat16 product of an encoder's largest shape."""
    x, weight = torch.randn(2048, hidden).bfloat16(), torch.randn(4 * hidden, hidden).bfloat16()
    seconds = best({"product": lambda: functional.linear(x, weight)}, rounds=5)["product"]
    return 2 * 2048 * 4 * hidden**2 / seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts that were asked for and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="a folder in the BEIR layout")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--chunks", type=int, default=2000)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--layers", type=int, default=2, help="of Jina v3's 24")
    parser.add_argument("--small", action="store_true")
    chosen = parser.parse_args(arguments)
    if chosen.small:
        chosen.chunks, chosen.documents, chosen.layers = 4, 2, 1
    if "minilm" in chosen.parts:
        asked = documents(None if chosen.small else chosen.data, chosen.documents)
        minilm(asked, chunks_of(asked, chosen.chunks))
    if "query" in chosen.parts:
        query()
    if "jina" in chosen.parts:
        small = (128, (32,), 64)
        jina(chosen.layers, *(small if chosen.small else (1024, (512, 2048, 8192), 4096)))


if __name__ == "__main__":
    main()

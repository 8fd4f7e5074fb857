"""The embedder beside sentence-transformers, in one process and one run.

    python -m benchmarks.embedder --data FOLDER ...  # sets in the BEIR layout: their corpus.jsonl.gz is read
    python -m benchmarks.embedder --data FOLDER ... --parts minilm --chunks 300 --documents 20
    python -m benchmarks.embedder --small            # seconds: its numbers mean nothing

Tokens per CPU second, because they change less than wall seconds with what else the machine does; the sides
take turns, and the better of two rounds counts. sentence-transformers runs as shipped: float32, 32 at a time.

Parts: `minilm` (chunks alone, documents at three contexts), `query` (one question, 32 that wait), `jina`
(Jina v3's size with random weights, texts of one length) and `mixed` (the same, as long as the data's texts).
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice, zip_longest
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from benchmarks.sized import PACK, Sized, operations, product_rate
from benchmarks.turns import best, table
from latewood.embedder.encoder.backbone import native_dtype
from latewood.embedder.encoder.pooling import means
from latewood.embedder.encoder.rows import Row
from latewood.embedder.models.checkpoint import find_checkpoint
from latewood.embedder.models.registry import MINILM
from latewood.embedder.models.tokenizer import TextTokenizer
from latewood.embedder.quantization.int8 import missing_for_int8
from latewood.embedder.serving.engine import load_embedder
from latewood.embedder.serving.scheduler import Job
from latewood.embedder.types import Span, SpannedText, Task

PARTS = ("minilm", "query", "jina", "mixed")
CHARACTERS = 1000  # of a chunk: about 256 tokens
SENTENCE = "The ferry leaves the harbour at dawn and the pilot boards it behind the lighthouse. "
WAITING = 32
REPEAT = 20  # questions asked one after the other, to be measured together
QUESTION = "when does the last ferry leave the harbour in winter?"  # twelve tokens with its special ones


def documents(folders: Sequence[Path], count: int) -> list[SpannedText]:
    """Whole texts, of each set in turn, with spans of about `CHARACTERS` characters that end at a space.

    Without a set, sentences again and again.
    """
    if folders:
        rows = zip_longest(*map(_texts, folders))
        texts = (text for text in chain.from_iterable(rows) if text is not None)
    else:
        texts = (SENTENCE * (5 + 20 * number) for number in range(count))
    return [SpannedText(text, tuple(_spans(text))) for text in islice(texts, count)]


def _texts(folder: Path) -> Iterator[str]:
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from (text for line in lines if (text := json.loads(line)["text"]).strip())


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


def minilm(asked: Sequence[SpannedText], chunks: Sequence[str]) -> None:
    """Chunks alone, beside sentence-transformers; and documents at three contexts.

    Cosines are to Latewood's own float32: sentence-transformers cuts what is longer than 512 tokens.
    """
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(find_checkpoint(MINILM.name).folder), device="cpu")
    theirs.max_seq_length = 512
    ours = {dtype: load_embedder(MINILM.name, device="cpu", dtype=dtype) for dtype in _dtypes()}
    usual = partial(theirs.encode, list(chunks), batch_size=32, normalize_embeddings=True)
    sides: dict[str, Callable[[], object]] = {"sentence-transformers, float32": usual}
    for dtype, embedder in ours.items():
        sides[f"Latewood, {dtype}"] = partial(embedder.embed_texts, chunks, Task.PASSAGE)
    seconds = best(sides)
    lengths = [len(ours["float32"].token_offsets(chunk)) for chunk in chunks]
    tokens, exact = sum(lengths), ours["float32"].embed_texts(chunks, Task.PASSAGE)
    hidden, layers = ours["float32"].dimension, theirs[0].auto_model.config.num_hidden_layers
    done = layers * operations(hidden, [length + 2 for length in lengths])
    rows = []
    for (name, run), spent in zip(sides.items(), seconds.values(), strict=True):
        cosines = (np.asarray(run()) * exact).sum(axis=1)
        times = seconds["sentence-transformers, float32"] / spent
        dtype = "float32" if name.endswith("float32") else native_dtype("cpu")
        share = 100 * done / spent / product_rate(hidden, getattr(torch, dtype))
        told = f"{tokens / spent:,.0f}", f"{times:.2f}", f"{share:.0f} %"
        rows.append((name, *told, f"{cosines.min():.5f}", f"{cosines.mean():.5f}"))
    print(f"\n{len(chunks)} chunks, {tokens} tokens, each by itself")
    heads = "tokens per CPU second", "times", "share of the product rate", "least cosine", "mean"
    table(("", *heads), rows)
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


def query(rounds: int) -> None:
    """One question through the engine beside the bare forward of its tokens, and 32 that wait at once."""
    embedder = load_embedder(MINILM.name, device="cpu")
    encoder = embedder._backbone._encoder
    ids = np.array([101, *range(2000, 2010), 102], dtype=np.int32)
    rows = [Row(ids, np.array([[0, len(ids), 0]]))] * WAITING

    def bare(texts: int) -> None:
        torch.set_num_threads(1)
        encoder.states(Task.QUERY, [ids] * texts)

    def engine(texts: int) -> None:
        embedder.embed_texts([QUESTION] * texts, Task.QUERY)

    def waiting() -> None:
        sums = np.zeros((WAITING, 1, embedder.dimension), dtype=np.float32)
        jobs = [Job(Task.QUERY, [row], one, PACK, urgent=True) for row, one in zip(rows, sums, strict=True)]
        with embedder._owner._guard:  # its thread takes none of them before all are there
            for job in jobs:
                embedder._owner.submit(job)
        for job in jobs:
            means(job.wait(), np.array([len(ids)]))

    with ThreadPoolExecutor(WAITING) as callers:
        sides = {
            "bare forward, 12 tokens": partial(_again, bare, 1),
            "engine, 12 tokens": partial(_again, engine, 1),
            f"{WAITING} as one packed batch": partial(_again, embedder._backbone.run, Task.QUERY, rows),
            f"{WAITING} that wait in the queue": partial(_again, waiting),
            f"{WAITING} texts of one caller": partial(_again, engine, WAITING),
            f"{WAITING} callers that ask again": lambda: list(
                callers.map(partial(_again, engine), [1] * WAITING)
            ),
        }
        cpu, wall = best(sides, rounds), best(sides, rounds, perf_counter)
    table(
        ("", "CPU milliseconds", "milliseconds"),
        [(name, *(f"{1000 * side[name] / REPEAT:.2f}" for side in (cpu, wall))) for name in sides],
    )
    embedder.close()


def _again(work: Callable[..., object], *arguments: object) -> None:
    for _ in range(REPEAT):
        work(*arguments)


def jina(layers: int, hidden: int, lengths: Sequence[int], pack: int) -> None:
    """Layers of Jina v3's size with random weights, beside transformers' own forward in float32."""
    rows = []
    sized = Sized(layers, hidden)
    for length in lengths:
        asked = sized.texts([length] * max(1, pack // length))
        rows += [(length, *row) for row in sized.beside(asked, rounds=1)]
    sized.told()
    table(("length", *Sized.HEADS), rows)


def mixed(layers: int, hidden: int, asked: Sequence[SpannedText], chunks: Sequence[str], most: int) -> None:
    """The same over random words, as many as the chunks and whole documents have tokens, `most` at most."""
    tokenizer = TextTokenizer(find_checkpoint(MINILM.name).folder)
    rows = []
    sized = Sized(layers, hidden)
    for name, texts in (("chunks", chunks), ("documents", [one.text for one in asked])):
        lengths = [min(most, len(tokens)) for tokens in tokenizer.encode_all(texts)]
        title = f"{len(lengths)} {name}, {np.median(lengths):.0f} tokens in the middle"
        rows += [(title, *row) for row in sized.beside(sized.texts(lengths), rounds=1)]
    sized.told()
    table(("", *Sized.HEADS), rows)


def _dtypes() -> tuple[str, ...]:
    """Those this machine multiplies in."""
    return tuple(dict.fromkeys(("float32", native_dtype("cpu")))) + (() if missing_for_int8() else ("int8",))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts that were asked for and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="folders in the BEIR layout")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--chunks", type=int, default=2000)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--layers", type=int, default=2, help="of Jina v3's 24")
    parser.add_argument("--small", action="store_true")
    chosen = parser.parse_args(arguments)
    if chosen.small:
        chosen.chunks, chosen.documents, chosen.layers = 4, 2, 1
    asked = documents([] if chosen.small else chosen.data, chosen.documents)
    more = documents(chosen.data, chosen.chunks) if chosen.data and not chosen.small else asked
    chunks = chunks_of(more, chosen.chunks)
    hidden, lengths, pack = (128, (32,), 64) if chosen.small else (1024, (512, 2048, 8192), PACK)
    if "minilm" in chosen.parts:
        minilm(asked, chunks)
    if "query" in chosen.parts:
        query(rounds=1 if chosen.small else 5)
    if "jina" in chosen.parts:
        jina(chosen.layers, hidden, lengths, pack)
    if "mixed" in chosen.parts:
        mixed(chosen.layers, hidden, asked, chunks, lengths[-1])


if __name__ == "__main__":
    main()

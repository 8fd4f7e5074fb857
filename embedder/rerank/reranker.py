"""Cross-encoders: a question and a passage read together, one score (arXiv 1901.04085)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.encoder.backbone import INT8, Backbone, load_backbone
from latewood.embedder.encoder.rows import Frame, Row, whole_of
from latewood.embedder.models.sources import LOCAL, Source
from latewood.embedder.models.tokenizer import TextTokenizer
from latewood.embedder.rerank.cross_encoder import CrossEncoder, Head, find_cross_encoder, read_head
from latewood.embedder.serving.scheduler import Job, Owner, never
from latewood.embedder.types import EmbedderError, Floats, InputError, RerankerDescription, Task


def load_reranker(
    model: str, *, device: str = "auto", dtype: str = "auto", source: Source = LOCAL
) -> LocalReranker:
    """Load a cross-encoder and start the thread that owns it.

    Args:
        model: a name from `embedder.models.KNOWN_RERANKERS`, or the path of a folder.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        dtype: `auto`, `float32` or `bfloat16`; the head computes in float32 always.
        source: whether missing weights may be fetched.

    Raises:
        ModelNotFoundError: no such model, or its weights are not on this machine.
        CheckpointError: the files are not what they claim to be, or need code of their own.
        InputError: no such device or dtype here.
    """
    if dtype == INT8:
        raise InputError("a cross-encoder has no int8: use dtype auto, float32 or bfloat16")
    cross = find_cross_encoder(model, source)
    tokenizer = TextTokenizer(cross.encoder.folder)
    head = read_head(cross)
    return LocalReranker(cross, tokenizer, load_backbone(cross.encoder, device, dtype), head)


class LocalReranker:
    """A cross-encoder in this process. Implements `embedder.types.Reranker`; made by `load_reranker`."""

    def __init__(self, cross: CrossEncoder, tokenizer: TextTokenizer, backbone: Backbone, head: Head) -> None:
        self._cross = cross
        self._tokenizer = tokenizer
        self._before, self._between, self._after = tokenizer.pair()
        self._backbone = backbone
        self._head = head
        self._owner = Owner(backbone.run, backbone.budget)

    @property
    def description(self) -> RerankerDescription:
        """The model in use."""
        return self._cross.description

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What decides its scores: model, revision, weights, and the prompt where there is one."""
        known = self.description
        values = {"model": known.name, "revision": known.revision, "weights": self._cross.encoder.checksum}
        if self._cross.prompt:
            values["prompt"] = self._cross.prompt
        return MappingProxyType(values)

    def score(self, query: str, passages: Sequence[str], stop: Callable[[], bool] = never) -> Floats:
        """How well each passage answers.

        Nothing is cut off. A passage that does not fit beside the query is read in overlapping windows and
        counts as its best one (MaxP, arXiv 1905.09217). A passage without a token scores 0: below any other.

        Args:
            query: at most half of the model's tokens.
            passages: of any length.
            stop: asked several times a second while the model runs.

        Returns:
            (len(passages),) float32 from 0 to 1 (the logistic function of the model's one logit); higher is
            better. Logits above 16 all give 1.

        Raises:
            InputError: the query holds no token, or is too long.
            StoppedError: `stop` said True.
            EmbedderError: the reranker is closed, or the model gave values that are not finite.
        """
        frame = self._frame(query)
        rows: list[Row] = []
        firsts: list[int] = []
        read: list[int] = []
        for number, tokens in enumerate(self._tokenizer.encode_all(passages)):
            if len(tokens):
                read.append(number)
                firsts.append(len(rows))
                rows += _windows(frame, tokens.ids, len(rows))
        scores = np.zeros(len(passages), dtype=np.float32)
        if not rows:
            return scores
        states = np.zeros((len(rows), self._cross.encoder.hidden_size), dtype=np.float32)
        job = Job(Task.QUERY, rows, states, self._backbone.budget, urgent=True)
        self._owner.submit(job)
        logits = self._head.logits(job.wait(stop))
        bad = np.count_nonzero(~np.isfinite(logits))
        if bad:
            raise EmbedderError(
                f"the reranker gave {bad} of {len(logits)} scores that are not finite; check the weights, or "
                "load the model with dtype float32"
            )
        scores[read] = _logistic(np.maximum.reduceat(logits, firsts))
        return scores

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return the number of tokens of all texts, without special tokens."""
        return sum(len(tokens) for tokens in self._tokenizer.encode_all(texts))

    def close(self) -> None:
        """Finish what was asked before, refuse what comes after, end the owner thread."""
        self._owner.close()
        self._backbone.close()

    def _frame(self, query: str) -> Frame:
        """Return what is around a passage: the query before it.

        The passage is tokenised by itself: special tokens part it from the query.
        """
        tokens = self._tokenizer.encode(query, self._cross.prompt)
        ids = np.concatenate([tokens.prompt, tokens.ids])
        most = self.description.max_tokens // 2
        if not len(tokens) or len(ids) > most:
            raise InputError(
                f"the query has {len(ids)} tokens; {self.description.name} takes 1 to {most}, half of what "
                "it reads at once. Ask a shorter question, or search without reranking"
            )
        before = np.concatenate([self._before, ids, self._between])
        return Frame(before, self._after, self.description.max_tokens)


def _windows(frame: Frame, ids: NDArray[np.int32], first_slot: int) -> list[Row]:
    """The rows of one passage, each giving the state of its first token to a slot of its own."""
    return [
        Row(row.ids, np.array([[0, 1, first_slot + number]], dtype=np.int64))
        for number, row in enumerate(frame.rows(ids, whole_of(ids), 0))
    ]


def _logistic(logits: NDArray[np.float64]) -> Floats:
    """1 / (1 + exp(-x)), without overflow and without loss where it is small."""
    return np.exp(-np.logaddexp(0.0, -logits)).astype(np.float32)

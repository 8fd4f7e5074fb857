"""The embedder: whole documents in, one vector per chunk out (late chunking, arXiv 2409.04701)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from latewood.embedder.encoder.backbone import Backbone, load_backbone
from latewood.embedder.encoder.pooling import blend, means
from latewood.embedder.encoder.rows import Frame
from latewood.embedder.encoder.windows import token_spans
from latewood.embedder.models.adapters import adapter_checksum
from latewood.embedder.models.checkpoint import Checkpoint, find_checkpoint
from latewood.embedder.models.sources import LOCAL, Source
from latewood.embedder.models.tokenizer import TextTokenizer, Tokens
from latewood.embedder.quantization.calibration import SENTENCES
from latewood.embedder.request import Request
from latewood.embedder.serving.scheduler import Job, Owner, never
from latewood.embedder.types import (
    LEAD,
    Floats,
    InputError,
    Load,
    ModelDescription,
    Offsets,
    SpannedText,
    Task,
)

# A lead takes one part in so many of a window's room, at most: what it tells must not crowd out the text.
LEAD_SHARE = 8


def load_embedder(
    model: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    context: float | None = None,
    window: int | None = None,
    lead: bool = False,
    source: Source = LOCAL,
) -> LocalEmbedder:
    """Load a model and start the thread that owns it.

    Args:
        model: a name from `embedder.models` or `source`, or the path of a folder.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        dtype: `auto`, `float32`, `bfloat16` or `int8`.
        context: 0 (each chunk alone) to 1 (late chunking); the model's own default when None.
        window: tokens that attend to each other at most; all the model's positions when None.
        lead: whether a document's leads (title and heading path) stand before each of its windows.
        source: models described in the settings, and whether missing weights may be fetched.

    Raises:
        ModelNotFoundError: no such model, or its weights are not on this machine.
        CheckpointError: the files are not what they claim to be.
        InputError: device, dtype, context or window is out of range.
    """
    checkpoint = find_checkpoint(model, source)
    description = checkpoint.description
    dial = description.context if context is None else context
    description.check_context(dial)
    positions = description.max_tokens if window is None else window
    if positions > description.max_tokens:
        raise InputError(
            f"a window of {window} tokens is more than the {description.max_tokens} this model can take"
        )
    tokenizer = TextTokenizer(checkpoint.folder, lowercase=description.lowercase)
    frames = _frames(description, tokenizer, positions)
    prompt = description.prompts.get(Task.PASSAGE, "")
    sample = [frames[Task.PASSAGE].first(tokens.ids) for tokens in tokenizer.encode_all(SENTENCES, prompt)]
    backbone = load_backbone(checkpoint, device, dtype, sample)
    return LocalEmbedder(checkpoint, tokenizer, backbone, frames, Dial(dial, lead))


@dataclass(frozen=True, slots=True)
class Dial:
    """How much of its document a chunk is told.

    Attributes:
        context: 0 (each chunk alone) to 1 (late chunking).
        lead: whether leads stand before each window.
    """

    context: float
    lead: bool = False


class LocalEmbedder:
    """A model in this process. Implements `embedder.types.Embedder`; made by `load_embedder`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: TextTokenizer,
        backbone: Backbone,
        frames: Mapping[Task, Frame],
        dial: Dial,
    ) -> None:
        self._checkpoint = checkpoint
        self._tokenizer = tokenizer
        self._frames = frames
        self._dial = dial
        self._backbone = backbone
        self._fingerprint = _fingerprint(checkpoint, tokenizer)
        self._recorded = {
            "dtype": backbone.dtype,
            "device": backbone.device,
            "window": str(frames[Task.PASSAGE].window),
            "context": format(dial.context, "g"),
        }
        if dial.lead:
            self._recorded[LEAD] = "title and headings"
        self._owner = Owner(backbone.run, backbone.budget)

    @property
    def description(self) -> ModelDescription:
        """The model in use."""
        return self._checkpoint.description

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """What an index must agree on: model, revision, weights, adapters, prompts, pooling, dimension."""
        return MappingProxyType(self._fingerprint)

    @property
    def recorded(self) -> Mapping[str, str]:
        """What is noted per document and never fatal: dtype, device, window, context."""
        return MappingProxyType(self._recorded)

    @property
    def attention(self) -> str:
        """How it attends here, chosen when the model was loaded: see `embedder.attention` and `.varlen`."""
        return self._backbone.attention

    @property
    def load(self) -> Load:
        """What the model has done since it was loaded, and what waits for it."""
        return self._owner.load

    @property
    def dimension(self) -> int:
        """Length of the vectors returned."""
        return self._checkpoint.hidden_size

    def token_offsets(self, text: str) -> Offsets:
        """Character span of each token of `text`, without special tokens: (n, 2) int64, end exclusive."""
        return self._encoded([text], Task.PASSAGE)[0].offsets

    def embed_documents(
        self,
        documents: Sequence[SpannedText],
        stop: Callable[[], bool] = never,
        context: float | None = None,
        progress: Callable[[float], object] | None = None,
    ) -> list[Floats]:
        """Embed whole documents, of any length; `context` in place of this embedder's own.

        `progress` is called several times a second with the part of the tokens that is embedded.

        A token belongs to the span its middle lies in. Documents longer than the window run as overlapping
        windows, each token taken from the one in which it stands furthest from an edge. Late chunking pools
        content tokens only; special tokens and prompt attend.

        Returns:
            For each document (len(spans), dimension) float32 unit rows.

        Raises:
            InputError: a span holds no token (merge it into its neighbour), or the context is out of range.
            StoppedError: `stop`, which is asked now and then, said True.
            EmbedderError: the embedder is closed, or the model gave values that are not finite.
        """
        dial = self._dial.context if context is None else context
        self.description.check_context(dial)
        return [blend(alone, late, dial) for alone, late in self._ends(documents, dial, stop, progress)]

    def embed_documents_both(self, documents: Sequence[SpannedText]) -> list[tuple[Floats, Floats]]:
        """Embed whole documents at both ends of the context dial, whatever this embedder's own setting.

        `embedder.pooling.blend` makes from the two what `embed_documents` gives at any context, so that
        many can be compared for the price of one.

        Returns:
            For each document, (len(spans), dimension) float32 unit rows twice: each chunk by itself (context
            0), and pooled from its whole document (context 1). Of a model that does not pool by the mean,
            which has no late chunking, the first one twice.

        Raises:
            InputError, EmbedderError: as `embed_documents`.
        """
        return self._ends(documents, 0.5 if self.description.late_chunking else 0)

    def embed_texts(self, texts: Sequence[str], task: Task, stop: Callable[[], bool] = never) -> Floats:
        """Embed each text by itself, of any length, pooled over all tokens as the model was trained.

        Returns:
            (len(texts), dimension) float32 unit rows.

        Raises:
            InputError: a text holds no token, or the task is unknown.
            StoppedError: `stop`, which is asked several times a second, said True.
            EmbedderError: the embedder is closed, or the model gave values that are not finite.
        """
        if task not in self._frames:
            raise InputError(f"unknown task {task!r}: use one of {', '.join(self._frames)}")
        request = Request(self.description.pooling)
        for number, tokens in enumerate(self._encoded(texts, task)):
            if not len(tokens):
                raise InputError(
                    f"text {number} ({len(texts[number])} characters) holds nothing that can be embedded"
                )
            request.add_whole(self._frame_of(tokens, task), tokens.ids)
        return self._run(request, Task(task), urgent=True, stop=stop)

    def close(self) -> None:
        """Finish what was asked before, refuse what comes after, end the owner thread."""
        self._owner.close()
        self._backbone.close()

    def _ends(
        self,
        documents: Sequence[SpannedText],
        context: float,
        stop: Callable[[], bool] = never,
        progress: Callable[[float], object] | None = None,
    ) -> list[tuple[Floats, Floats]]:
        """Each document's chunks by themselves and within the whole; equal where the dial needs but one."""
        tokens = self._encoded([document.text for document in documents], Task.PASSAGE)
        request = Request(self.description.pooling)
        slots = [
            self._ask_for(request, self._spans_of(number, document, of_text), document, of_text, context)
            for number, (document, of_text) in enumerate(zip(documents, tokens, strict=True))
        ]
        vectors = self._run(request, Task.PASSAGE, urgent=False, stop=stop, progress=progress)
        return [(vectors[alone], vectors[late]) for alone, late in slots]

    def _spans_of(self, number: int, document: SpannedText, tokens: Tokens) -> NDArray[np.int64]:
        spans = token_spans(tokens.offsets, document.spans, len(document.text))
        for span, (start, end) in zip(document.spans, spans.tolist(), strict=True):
            if start == end:
                raise InputError(
                    f"span [{span.start}, {span.end}) of document {number} holds no token: "
                    "merge it into its neighbour"
                )
        return spans

    def _ask_for(
        self,
        request: Request,
        spans: NDArray[np.int64],
        document: SpannedText,
        tokens: Tokens,
        context: float,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        frame = self._frame_of(tokens, Task.PASSAGE)
        leads = self._leads(document)
        if context == 1:
            late = request.add(frame, tokens.ids, spans, leads)
            return late, late
        chunks = self._chunks_alone(document, tokens, spans)
        if len(chunks) == 1 and np.array_equal(chunks[0].ids, tokens.ids) and context > 0 and not leads:
            both = request.add_both(frame, tokens.ids)
            return np.array(both[:1]), np.array(both[1:])
        slots = [request.add_whole(self._frame_of(own, Task.PASSAGE), own.ids) for own in chunks]
        alone = np.array(slots, dtype=np.int64)
        return alone, request.add(frame, tokens.ids, spans, leads) if context > 0 else alone

    def _leads(self, document: SpannedText) -> list[NDArray[np.int32]]:
        """Token ids of each span's lead, an eighth of the window at most; none where leads are off."""
        if not self._dial.lead or not document.leads:
            return []
        most = self._frames[Task.PASSAGE].room // LEAD_SHARE
        distinct = list(dict.fromkeys(document.leads))
        # Where a space alone parts two words, a line end keeps the lead's last one from the text's first one.
        end = "" if self._tokenizer.marks_words else "\n"
        encoded = self._encoded([lead + end for lead in distinct], Task.PASSAGE)
        ids = [tokens.ids[:most] for tokens in encoded]
        known = dict(zip(distinct, ids, strict=True))
        return [known[lead] for lead in document.leads]

    def _chunks_alone(self, document: SpannedText, tokens: Tokens, spans: NDArray[np.int64]) -> list[Tokens]:
        """Return the tokens of each chunk's own text: at its edges they may differ from the whole text's."""
        texts = [document.text[span.start : span.end] for span in document.spans]
        # A chunk with tokens in its document but none by itself (a lone word mark) keeps the document's.
        return [
            own if len(own) else Tokens(tokens.ids[start:end], tokens.offsets[start:end], tokens.prompt)
            for own, (start, end) in zip(self._encoded(texts, Task.PASSAGE), spans.tolist(), strict=True)
        ]

    def _encoded(self, texts: Sequence[str], task: Task) -> list[Tokens]:
        """Tokenise texts behind the task's prompt."""
        return self._tokenizer.encode_all(texts, self.description.prompts.get(task, ""))

    def _frame_of(self, tokens: Tokens, task: Task) -> Frame:
        """Return the frame of a text, with its prompt as it was tokenised before this text."""
        return self._frames[task].opened_by(np.concatenate([self._tokenizer.head, tokens.prompt]))

    def _run(
        self,
        request: Request,
        task: Task,
        *,
        urgent: bool,
        stop: Callable[[], bool] = never,
        progress: Callable[[float], object] | None = None,
    ) -> Floats:
        sums = np.zeros((len(request.counts), self.dimension), dtype=np.float32)
        job = Job(task, request.rows, sums, self._backbone.budget, urgent=urgent)
        self._owner.submit(job)
        return means(job.wait(stop, progress), np.array(request.counts, dtype=np.int64))


def _frames(description: ModelDescription, tokenizer: TextTokenizer, window: int) -> dict[Task, Frame]:
    frames = {}
    for task in Task:
        prompt = description.prompts.get(task, "")
        skip = 0 if description.include_prompt or not prompt else tokenizer.prompt_length(prompt)
        # A space at its end is part of the word behind it, in later windows too: that has one of its own.
        before = np.concatenate([tokenizer.head, tokenizer.encode(prompt.rstrip(" ")).ids])
        frames[task] = Frame(before, tokenizer.tail, window, skip=skip)
    return frames


def _fingerprint(checkpoint: Checkpoint, tokenizer: TextTokenizer) -> dict[str, str]:
    description = checkpoint.description
    prompts = {str(task): prompt for task, prompt in description.prompts.items()}
    values = {
        "model": description.name,
        "revision": description.revision,
        "weights": checkpoint.checksum,
        "adapters": adapter_checksum(checkpoint),
        "prompts": json.dumps(prompts, sort_keys=True),
        "pooling": description.pooling,
        "dimension": str(checkpoint.hidden_size),
    }
    # Only where they change vectors: an index of a model that they do not concern was made without them.
    if any(tokenizer.joins(prompt) for prompt in prompts.values()):
        values["prompt_tokens"] = "joined with the text"
    if any(prompts.values()) and not description.include_prompt:
        values["include_prompt"] = "false"
    if description.lowercase:
        values["lowercase"] = "true"
    return values

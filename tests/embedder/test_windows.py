from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latewood.embedder.encoder.windows import overlap_of, pieces_in, plan_windows, token_spans
from latewood.embedder.types import InputError, Span


@st.composite
def plans(draw):
    room = draw(st.integers(1, 60))
    overlap = draw(st.integers(0, room - 1))
    return draw(st.integers(1, 400)), room, overlap


@st.composite
def tilings(draw, length):
    inner = draw(st.lists(st.integers(1, length - 1), unique=True)) if length > 1 else []
    borders = [0, *sorted(inner), length]
    return [Span(start, end) for start, end in itertools.pairwise(borders)]


def centre_distance(window, token):
    return min(token - window.start, window.end - 1 - token)


@given(plans())
def test_windows_cover_the_text_and_stay_within_their_room(plan):
    tokens, room, overlap = plan
    windows = plan_windows(tokens, room, overlap)
    assert windows[0].start == 0
    assert windows[-1].end == tokens
    assert all(0 < window.end - window.start <= room for window in windows)
    for before, after in itertools.pairwise(windows):
        assert before.end - after.start >= overlap


@given(plans())
def test_every_token_is_kept_from_exactly_one_window(plan):
    kept = [range(window.keep_start, window.keep_end) for window in plan_windows(*plan)]
    assert [token for tokens in kept for token in tokens] == list(range(plan[0]))


@given(plans())
def test_a_token_is_kept_from_the_window_where_it_stands_furthest_from_an_edge(plan):
    windows = plan_windows(*plan)
    for window in windows:
        for token in range(window.keep_start, window.keep_end):
            rivals = [other for other in windows if other.start <= token < other.end]
            assert centre_distance(window, token) == max(centre_distance(other, token) for other in rivals)


@given(plans())
def test_no_window_is_more_than_needed(plan):
    tokens, room, overlap = plan
    count = len(plan_windows(*plan))
    assert count == 1 or tokens > room + (count - 2) * (room - overlap)


def test_a_text_that_fits_is_one_window():
    (window,) = plan_windows(510, 510, 102)
    assert (window.start, window.end, window.keep_start, window.keep_end) == (0, 510, 0, 510)


def test_no_tokens_need_no_window():
    assert plan_windows(0, 10, 2) == []


@pytest.mark.parametrize(("room", "overlap"), [(10, 10), (10, 11), (10, -1), (0, 0)])
def test_an_overlap_that_leaves_no_room_is_refused(room, overlap):
    with pytest.raises(InputError, match="overlap"):
        plan_windows(100, room, overlap)


def test_the_overlap_is_a_fifth_of_the_window_and_512_at_most():
    assert overlap_of(510) == 102
    assert overlap_of(8190) == 512
    assert overlap_of(4) == 0


@st.composite
def tokenised(draw):
    """Token offsets as tokenizers may give them: in order, touching, some of them empty."""
    length = draw(st.integers(1, 60))
    borders = sorted(draw(st.lists(st.integers(0, length), min_size=2, max_size=40)))
    offsets = list(itertools.pairwise(borders))
    return np.array(offsets, dtype=np.int64), length, draw(tilings(length))


@given(tokenised())
def test_a_token_lands_in_exactly_one_chunk(case):
    offsets, length, spans = case
    found = token_spans(offsets, spans, length)
    assert [token for start, end in found for token in range(start, end)] == list(range(len(offsets)))


@given(tokenised())
def test_a_token_lands_in_the_chunk_that_holds_its_middle(case):
    offsets, length, spans = case
    for span, (start, end) in zip(spans, token_spans(offsets, spans, length).tolist(), strict=True):
        for first, last in offsets[start:end].tolist():
            middle = min((first + last) / 2, length - 0.5)
            assert span.start <= middle < span.end


def test_a_token_astride_a_border_goes_where_its_middle_lies():
    offsets = np.array([[0, 4], [4, 10]])
    assert token_spans(offsets, [Span(0, 6), Span(6, 10)], 10).tolist() == [[0, 1], [1, 2]]
    assert token_spans(offsets, [Span(0, 8), Span(8, 10)], 10).tolist() == [[0, 2], [2, 2]]


@given(plans(), st.data())
def test_the_pieces_of_all_windows_give_each_span_its_tokens_once(plan, data):
    tokens = plan[0]
    borders = sorted(data.draw(st.lists(st.integers(0, tokens), min_size=2, max_size=20)))
    spans = np.array(list(itertools.pairwise(borders)), dtype=np.int64)
    got = {index: [] for index in range(len(spans))}
    for window in plan_windows(*plan):
        for start, end, index in pieces_in(window, spans).tolist():
            got[index].extend(range(window.start + start, window.start + end))
    assert got == {index: list(range(start, end)) for index, (start, end) in enumerate(spans.tolist())}

"""The text as spans: views on a CPU, resident or streamed elsewhere."""

import numpy as np
import pytest
import torch

from w2v import feed
from w2v.feed import Feed
from w2v.sentences import Sentences

CPU = torch.device("cpu")


def sentences_of(*lengths):
    offsets_S = np.array([0, *np.cumsum(lengths)], np.int64)
    return Sentences(np.arange(1, offsets_S[-1] + 1, dtype=np.int32), offsets_S)


def feed_of(sentences, **options):
    keep_prob_V = np.ones(len(sentences.ids_N) + 1, np.float32)
    return Feed(sentences, keep_prob_V=keep_prob_V, device=CPU, **options)


def told(text):
    return text.ids_N.tolist(), text.offsets_S.tolist()


SENTENCES = sentences_of(3, 0, 4, 9, 1, 1, 2, 0, 0)


@pytest.mark.parametrize("resident", [None, True, False])
def test_spans_are_the_same_wherever_the_text_lies(resident):
    mine = feed_of(SENTENCES, max_words=7, resident=resident)
    assert mine.cuts == [(0, 7), (7, 14), (14, 20)]
    order = [2, 0, 0, 1, 2, 1, 0]  # streamed: both stages are filled again and again
    expected = [
        ([1, 2, 3, 4, 5, 6, 7], [0, 3, 3, 7]),
        ([8, 9, 10, 11, 12, 13, 14], [0, 0, 7]),
        ([15, 16, 17, 18, 19, 20], [0, 2, 3, 4, 6]),
    ]
    for number in order:
        ids, offsets = told(mine[number])
        assert ids == expected[number][0]
        assert sorted(set(offsets)) == sorted({*expected[number][1], 0})


def test_a_span_on_a_cpu_is_a_view_and_has_no_room_of_its_own():
    text = feed_of(SENTENCES, max_words=7)[0]
    assert text.ids_N.data_ptr() == SENTENCES.ids_N.ctypes.data
    assert text.room is None


def test_a_streamed_span_stays_while_the_next_one_comes():
    mine = feed_of(SENTENCES, max_words=7, resident=False)
    first = mine[0]
    mine[1], mine[2]
    assert told(first)[0] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(("free", "resident"), [(4 * 80, True), (4 * 80 - 4, False), (None, True)])
def test_a_text_stays_on_the_device_if_it_takes_a_quarter_of_what_is_free(
    free, resident, monkeypatch
):
    monkeypatch.setattr(feed, "free_bytes", lambda _: free)  # the 20 ids take 80 bytes
    meta = torch.device("meta")
    mine = Feed(SENTENCES, max_words=7, keep_prob_V=np.ones(21, np.float32), device=meta)
    texts = [mine[number] for number in (0, 1, 0)]
    assert {text.ids_N.device for text in texts} == {meta}
    assert (texts[0].ids_N is texts[2].ids_N) == resident


def test_an_empty_text_has_no_spans():
    for resident in (None, True, False):
        assert feed_of(sentences_of(), max_words=7, resident=resident).cuts == []

"""The text as a kernel gets it: spans of whole sentences, on the device that trains.

An encoded text enters, `SpanText`s leave. A span has some million words, as many as the kernel
likes, and is read from the files of the corpus when its turn comes. So the memory of training does
not grow with the text. It is

    tables, optimizer   (floats a word) x 4 bytes x V, see `memory.needs`
    vocabulary          some 200 bytes x V, measured with words of 10 letters
    buffer              2 spans x (4 bytes a word + 8 a sentence): this one, and the one before it
                        while this one is read; and what the kernel draws from a span

On a CPU that is all. On a GPU the whole text lies there from the start, if it takes no more than
RESIDENT_SHARE of the free memory; a longer one streams: a span is copied to pinned memory, and goes
from there to the device in its turn. The host is two spans ahead, so the device does not wait.

Legend: N = ids of a span, S = its sentences, V = words of the vocabulary.
"""

from collections.abc import Iterator
from itertools import cycle
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from w2v.devices import free_bytes
from w2v.draws import SpanText, kept_at_most
from w2v.sentences import Sentences, cut, inner_borders, shards, spans

Parts: TypeAlias = tuple[Tensor, Tensor]  # ids_N and offsets_S of a span

RESIDENT_SHARE = 0.25  # of the device's free memory
STAGES = 2  # one is on its way while the other is filled


class Feed:
    """The spans of a text, or of a part of it, by number, as often as they are asked for."""

    def __init__(
        self,
        sentences: Sentences,
        *,
        max_words: int,
        keep_prob_V: NDArray[np.float32],
        device: torch.device,
        resident: bool | None = None,
        shard: int = 0,
        num_shards: int = 1,
    ) -> None:
        """Cuts the text; brings it to the device where it is to be `resident`.

        Args:
            sentences: the encoded text.
            max_words: ids of a span.
            keep_prob_V: the chance of each word to be kept.
            device: where the spans are wanted.
            resident: the whole text stays on the device; None: if it fits there.
            shard: which part of the text is wanted,
            num_shards: of so many.

        Raises:
            DataError: the text has too few sentences for so many parts.
        """
        parts = [
            spans(sentences, max_words=max_words, within=part)
            for part in shards(sentences, num_shards)
        ]
        self.cuts = parts[shard]
        self.first_number = sum(map(len, parts[:shard]))  # of its spans among those of all parts
        self.num_words = sum(end - start for start, end in self.cuts)
        self._sentences, self._keep_prob_V, self._device = sentences, keep_prob_V, device
        self._rooms: dict[int, int] = {}  # of spans that were asked for
        self._whole: list[Parts] | None = None
        self._stages: Iterator[_Stage] | None = None
        if resident is None and device.type == "cpu":
            return
        if resident is None:
            free = free_bytes(device)
            size = self.num_words * sentences.ids_N.dtype.itemsize
            resident = free is None or size <= RESIDENT_SHARE * free
        if resident:
            cuts = (self._cut(number) for number in range(len(self.cuts)))
            self._whole = [(ids_N.to(device), offsets_S.to(device)) for ids_N, offsets_S in cuts]
        else:
            inner = (inner_borders(sentences, *span) for span in self.cuts)
            offsets = max((2 + part.stop - part.start for part in inner), default=0)
            ids = max((end - start for start, end in self.cuts), default=0)
            self._stages = cycle([_Stage(ids, offsets, device) for _ in range(STAGES)])
        for number in range(len(self.cuts)):
            self._room(number)  # now, so that the device need not wait for it later

    def __getitem__(self, number: int) -> SpanText:
        """The span of that number."""
        if self._whole is not None:
            parts = self._whole[number]
        elif self._stages is not None:
            parts = next(self._stages).send(*self._cut(number))
        else:
            parts = self._cut(number)
        return SpanText(*parts, room=self._room(number))

    def _cut(self, number: int) -> Parts:
        ids_N, offsets_S = cut(self._sentences, *self.cuts[number])
        return torch.from_numpy(ids_N), torch.from_numpy(offsets_S)

    def _room(self, number: int) -> int | None:
        if self._device.type != "cuda":
            return None  # sizes may depend on what is drawn
        start, end = self.cuts[number]
        if number not in self._rooms:
            ids_N = self._sentences.ids_N[start:end]
            self._rooms[number] = kept_at_most(ids_N, self._keep_prob_V)
        return self._rooms[number]


class _Stage:
    """Pinned memory from which a span goes to the device by itself."""

    def __init__(self, num_ids: int, num_offsets: int, device: torch.device) -> None:
        self._device, pin = device, device.type == "cuda"
        self._ids = torch.empty(num_ids, dtype=torch.int32, pin_memory=pin)
        self._offsets = torch.empty(num_offsets, dtype=torch.int64, pin_memory=pin)
        self._sent = torch.cuda.Event() if pin else None  # type: ignore[no-untyped-call]

    def send(self, ids_N: Tensor, offsets_S: Tensor) -> Parts:
        """Copies a span; returns the tensors on the device, which may still be on their way."""
        if self._sent is not None:
            self._sent.synchronize()  # the span before the last one: it left long ago
        parts = []
        for stage, part in ((self._ids, ids_N), (self._offsets, offsets_S)):
            staged = stage[: len(part)].copy_(part)
            parts.append(staged.to(self._device, non_blocking=True, copy=True))
        if self._sent is not None:
            self._sent.record()
        return parts[0], parts[1]

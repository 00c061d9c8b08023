"""The one text that all programs of a comparison read.

A `corpus` section enters, a plain file leaves: cut into tokens and lower-cased as the section says,
one space between tokens, a line a sentence. So every program sees the same tokens and line ends,
whatever it takes for white space, and none has to unpack or to fold case.

What a program makes of a line is its own: gensim cuts it at 10,000 words, word2vec.c at 1,000 that
subsampling has left, and word2vec.c counts each line's end as the word `</s>`.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from w2v.building import BLOCK_BYTES
from w2v.config import CorpusSection
from w2v.sources import data_folder, open_source, read_texts
from w2v.tokens import TokenPool, TokenRule, cut


class Text(NamedTuple):
    """A text on disk, and its size before vocabulary and subsampling."""

    path: Path
    lines: int
    raw_words: int
    longest_line: int  # in words


def write_tokens(section: CorpusSection, path: Path) -> Text:
    """Writes the text that `section` names, cut into tokens as it says.

    Raises:
        W2VError: the text or the token pattern cannot be used.
    """
    rule = TokenRule(section.lowercase, section.token_pattern)
    TokenPool(rule)  # refuses a pattern that polars does not know
    source = open_source(section, data_folder=data_folder())
    blocks = read_texts(source.train, block_bytes=BLOCK_BYTES)
    return write_lines((line for block in blocks for line in token_lines(block, rule)), path)


def write_head(text: Text, path: Path, *, lines: int) -> Text:
    """Writes the first lines of a text that `write_tokens` wrote."""
    with text.path.open(encoding="utf-8", newline="\n") as file:
        return write_lines(islice(file, lines), path)


def token_lines(block: str, rule: TokenRule) -> Iterator[str]:
    r"""The lines of a block of text, one space between tokens; each ends with `\n`."""
    tokens = cut(block, rule)
    joined: str = tokens.filter(tokens != "").str.join(" ").item()
    lines = joined.replace("\n ", "\n").replace(" \n", "\n").removesuffix("\n").split("\n")
    return (f"{line}\n" for line in lines)


def write_lines(lines: Iterable[str], path: Path) -> Text:
    """Writes lines of tokens, and measures them."""
    num_lines, raw_words, longest_line = 0, 0, 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(line)
            length = line.count(" ") + 1 if line != "\n" else 0
            num_lines += 1
            raw_words += length
            longest_line = max(longest_line, length)
    return Text(path, num_lines, raw_words, longest_line)

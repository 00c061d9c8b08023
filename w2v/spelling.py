"""Words as messages show them, and the words that somebody may have meant.

Any text enters; what leaves is safe to print, whatever a vocabulary holds. numpy is not needed.
"""

import difflib
import heapq
import re
import unicodedata
from collections.abc import Sequence

MAX_SHOWN = 60  # characters of a word that an error repeats

NUM_SPELLINGS = 3
SHORTLIST = 200  # words that difflib may compare; it takes 20 us for each
MIN_RATIO = 0.6  # of difflib, where 1.0 is equal

# What would change a terminal's state, a line's end or direction; joiners inside words do not.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def shown(word: str) -> str:
    """A word as messages show it: quoted, control characters escaped, cut where it is long."""
    return f"'{escaped(word[:MAX_SHOWN])}{'...' if len(word) > MAX_SHOWN else ''}'"


def escaped(word: str) -> str:
    r"""The word with control characters spelled out, as in `\x1b`."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), word)


def close_spellings(word: str, words: Sequence[str]) -> list[str]:
    """Up to NUM_SPELLINGS of `words` that are spelled most alike, case aside; the likest first.

    difflib is too slow for all of a big vocabulary, so it sees only the words of about the same
    length that share the most pairs of letters with `word`: 0.2 s among 400,000.
    """
    if not 0 < len(word) <= MAX_SHOWN:
        return []
    wanted = word.casefold()
    edged = f" {wanted} "
    pairs = {edged[i : i + 2] for i in range(len(edged) - 1)}
    reach = max(1, len(word) // 3)
    near = [(i, w) for i, w in enumerate(words) if abs(len(w) - len(word)) <= reach]
    folded = [(sum(pair in f" {w.casefold()} " for pair in pairs), -i) for i, w in near]
    matcher = difflib.SequenceMatcher(b=wanted, autojunk=False)
    ranked = []
    for num_shared, minus_id in heapq.nlargest(SHORTLIST, folded):
        matcher.set_seq1(words[-minus_id].casefold())
        if num_shared and matcher.ratio() >= MIN_RATIO:
            ranked.append((matcher.ratio(), minus_id))
    return [words[-minus_id] for _, minus_id in heapq.nlargest(NUM_SPELLINGS, ranked)]


def meant(word: str, words: Sequence[str]) -> str | None:
    """A hint at what of `words` an unknown word may have meant: its form, its case, its letters."""
    for form in ("NFC", "NFD"):
        other_form = unicodedata.normalize(form, word)
        if other_form in words:
            return f"{shown(other_form)} is, its letters encoded in Unicode's form {form}"
    same = [other for other in words if other.casefold() == word.casefold()]
    if same:
        return f"only the case differs: {_listed(same[:NUM_SPELLINGS])}"
    close = close_spellings(word, words)
    return f"did you mean {_listed(close)}?" if close else None


def _listed(words: Sequence[str]) -> str:
    *firsts, last = map(shown, words)
    return f"{', '.join(firsts)} or {last}" if firsts else last

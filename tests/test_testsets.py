import os
import threading

import pytest

from w2v.errors import DataError
from w2v.testsets import MAX_LINE_BYTES, Analogies, Pairs, read, read_pairs, read_questions


def test_pairs_are_read_with_comments_case_and_windows_line_ends(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_bytes(
        "\ufeff# word\tword\tscore\r\nTiger\tcat\t7.35\r\n\r\nnew york\tcity\t1e0\textra".encode()
    )
    assert read_pairs(file) == [("Tiger", "cat", 7.35), ("new york", "city", 1.0)]


@pytest.mark.parametrize("line", ["tiger\tcat", "tiger cat 7.35", "tiger\t\t7.35", "tiger"])
def test_a_missing_column_is_named_by_its_line(tmp_path, line):
    file = tmp_path / "pairs.tsv"
    file.write_text(f"# comment\na\tb\t1\n{line}\n")
    with pytest.raises(DataError, match=r"pairs\.tsv, line 3: expected word, word and score"):
        read_pairs(file)


@pytest.mark.parametrize("score", ["high", "nan", "inf", "1,5"])
def test_a_score_that_is_no_number_is_named_by_its_line(tmp_path, score):
    file = tmp_path / "pairs.tsv"
    file.write_text(f"tiger\tcat\t{score}\n")
    with pytest.raises(DataError, match="line 1: expected a number in the third column"):
        read_pairs(file)


def test_a_bad_line_is_shown_in_part(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("x" * 10_000)
    with pytest.raises(DataError) as caught:
        read_pairs(file)
    assert len(str(caught.value)) < 300


def test_questions_come_in_sections(tmp_path):
    file = tmp_path / "questions.txt"
    file.write_text("a b c d\n# note\n: capitals \nAthens Greece Oslo Norway\n\n: family\n")
    assert read(file) == (
        file,
        [
            ("", [("a", "b", "c", "d")]),
            ("capitals", [("Athens", "Greece", "Oslo", "Norway")]),
            ("family", []),
        ],
    )
    assert read_questions(file) == [("a", "b", "c", "d"), ("Athens", "Greece", "Oslo", "Norway")]


@pytest.mark.parametrize("line", ["a b c", "a b c d e"])
def test_a_question_has_four_words(tmp_path, line):
    file = tmp_path / "questions.txt"
    file.write_text(f": section\n{line}\n")
    with pytest.raises(DataError, match=r"line 2: expected four words, found 'a b c"):
        read_questions(file)


@pytest.mark.parametrize("read", [read_pairs, read_questions])
def test_a_file_that_cannot_be_read_is_a_data_error(tmp_path, read):
    with pytest.raises(DataError, match="cannot read"):
        read(tmp_path / "missing")
    (tmp_path / "latin").write_bytes(b"caf\xe9\tb\t1\n")
    with pytest.raises(DataError, match="latin, line 1: byte 4 is not UTF-8 text"):
        read(tmp_path / "latin")


# As the public files are published: their first lines.
PUBLIC = {
    "wordsim353 combined.tab": ("Word 1\tWord 2\tHuman (mean)\nlove\tsex\t6.77\n", 6.77),
    "wordsim353 combined.csv": ("Word 1,Word 2,Human (mean)\nlove,sex,6.77\n", 6.77),
    "wordsim353 set1.tab": (
        "Word 1\tWord 2\tHuman (mean)\t1\t2\t\nlove\tsex\t6.77\t9\t6\t\n",
        6.77,
    ),
    "SimLex-999.txt": (
        "word1\tword2\tPOS\tSimLex999\tconc(w1)\nold\tnew\tA\t1.58\t2.72\n",
        1.58,
    ),
    "SimVerb-3500.txt": ("take\tremain\tV\t6.81\tSYNONYMS\n", 6.81),
    "MEN_dataset_natural_form_full": ("sun sunlight 50.000000\n", 50.0),
    "rw.txt": ("squishing\tsquirt\t5.88\t7\t7\t6\t1\n", 5.88),
    "MTurk-771.csv": ("access,gateway,3.7916666666666665\n", 3.7916666666666665),
    "rg65.csv": ("cord;smile;0.02\n", 0.02),
}


@pytest.mark.parametrize(("text", "score"), PUBLIC.values(), ids=PUBLIC)
def test_public_files_are_read_as_they_are(tmp_path, text, score):
    file = tmp_path / "file"
    file.write_text(text)
    found = read(file)
    assert isinstance(found, Pairs)
    assert [pair.score for pair in found.pairs] == [score]
    assert next(found.words()) == found.pairs[0][:2]
    file.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    assert read(file) == found


@pytest.mark.parametrize("text", [": capitals\nAthens Greece Oslo Norway\n", "a b c d\n"])
def test_analogies_are_told_by_their_first_line(tmp_path, text):
    file = tmp_path / "file"
    file.write_text(f"# note\n\n{text}")
    found = read(file)
    assert isinstance(found, Analogies)
    assert len(next(found.words())) == 4


def test_a_first_line_with_a_mistake_is_no_header(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("tiger\tcat\t7,35\nbook\tpaper\t5\n")
    with pytest.raises(DataError, match="line 1: expected a number in the third column"):
        read(file)
    file.write_text("word1\tword2\tscore\ntiger\tcat\tV\t5\nbook\tpaper\tV\n")
    with pytest.raises(DataError, match="line 3: expected a number in column 4, found 'book"):
        read(file)


@pytest.mark.parametrize(
    "text", ["", "\n \n", "# nothing\n", ": a\n: b\n", "word1\tword2\tscore\n"]
)
def test_a_file_of_nothing_is_refused(tmp_path, text):
    file = tmp_path / "file"
    file.write_text(text)
    with pytest.raises(DataError, match="file holds neither pairs of words with a score nor"):
        read(file)


def test_what_is_no_text_is_refused_at_its_line(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"a\tb\t1\n" + b"x" * (MAX_LINE_BYTES + 1))
    with pytest.raises(DataError, match="line 2: longer than 65,536 bytes"):
        read(file)
    file.write_bytes(b"a\tb\t1\nc\t\xe9\t1\n")
    with pytest.raises(DataError, match="line 2: byte 3 is not UTF-8 text"):
        read(file)
    with pytest.raises(DataError, match="Is a directory"):
        read(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX pipes")
def test_a_pipe_is_read_once(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("a\tb\t1\nc\td\t2\n",))
    writer.start()
    assert len(read(pipe).pairs) == 2
    writer.join()

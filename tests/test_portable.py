"""Encoded corpora that travel: the command that makes them, training on them, damage, docs."""

import hashlib
import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_SETTINGS

from w2v import portable, survey
from w2v.configfile import load_config
from w2v.encoded import file_names
from w2v.errors import ConfigError, DataError, StorageError
from w2v.files import TEMP_PREFIX
from w2v.rundir import RunDir
from w2v.survey import open_corpus

PAGE = Path(__file__).parent.parent / "docs" / "corpora.md"
OPTIONS = ("train.kernel=bmm", "train.threads=1", "train.epochs=1")
MADE_OPTIONS = ("vocab.min_count=1", "vocab.max_size=6")  # those of the page's own corpus


def sets(*settings):
    return [part for setting in settings for part in ("-s", setting)]


def encoded_as(folder):
    return ("corpus.name=encoded", f"corpus.path={folder}")


@pytest.fixture
def encoded(cli, tiny_options):
    """Makes an encoded corpus of the planted text, called `shared`."""
    outcome = cli("corpus", "encode", "shared", *tiny_options)
    assert (outcome.code, outcome.out) == (0, "shared\n"), outcome.err
    return Path("shared")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The folder that the page's Python makes."""
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    exec(compile(code, PAGE.name, "exec"), {})
    return Path("made")


def opened(folder, *settings):
    config = load_config("text.yaml", ("corpus.lowercase=false", "corpus.heldout_every=null",
                                       *settings, *encoded_as(folder))).config  # fmt: skip
    return open_corpus(config, data_folder=Path("data"))


def renew(folder):
    """Makes corpus.json vouch for the files as they are."""
    about = json.loads((folder / "corpus.json").read_text())
    about["sha256"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in file_names()
    }
    (folder / "corpus.json").write_text(json.dumps(about))


# --- made by w2v ------------------------------------------------------------------------------


def test_a_folder_trains_as_its_text_does_and_needs_it_no_more(cli, encoded, tiny_text, tmp_path):
    text = sets(*TINY_SETTINGS, f"corpus.path={tiny_text}", *OPTIONS)
    assert cli("train", "-q", "--run", "by-text", *text).code == 0
    tiny_text.unlink()
    (tmp_path / "far").mkdir()
    moved = encoded.rename(tmp_path / "far" / "away")
    for path in moved.iterdir():
        path.chmod(0o444)
    moved.chmod(0o555)
    options = sets(*TINY_SETTINGS, *encoded_as(moved), *OPTIONS)
    outcome = cli("train", "-q", "--run", "by-folder", *options)
    moved.chmod(0o755)
    assert outcome.code == 0, outcome.err
    first, second = RunDir(tmp_path / "by-text"), RunDir(tmp_path / "by-folder")
    assert first.vectors.read_bytes() == second.vectors.read_bytes()
    assert first.read_info()["corpus"]["digest"] == second.read_info()["corpus"]["digest"]
    assert second.read_info()["corpus"]["name"] == "encoded"
    assert {path.name for path in moved.iterdir()} == {*file_names(), "corpus.json"}


@pytest.mark.parametrize("first", ["text", "encoded"])
def test_resume_goes_on_from_the_one_to_the_other(cli, encoded, tiny_text, first):
    places = {
        "text": ("corpus.name=text", f"corpus.path={tiny_text}"),
        "encoded": encoded_as(encoded),
    }
    (other,) = places.keys() - {first}
    longer = (*OPTIONS, "train.epochs=2")

    def train(*arguments):
        return cli("train", "-q", "--run", "run", *sets(*TINY_SETTINGS), *arguments)

    assert train(*sets(*places[first], *OPTIONS)).code == 0
    complete = train("--resume", *sets(*places[other], *OPTIONS))  # of a finished run
    assert complete.code == 0, complete.err
    (Path("run") / "run.json").unlink()
    goes_on = train("--resume", *sets(*places[other], *longer))
    assert goes_on.code == 0, goes_on.err
    assert RunDir(Path("run")).read_info()["epochs"] == 2


def test_resume_refuses_an_encoded_corpus_of_another_text(cli, encoded, tiny_options, tiny_text):
    assert cli("train", "-q", "--run", "run", *tiny_options, *sets(*OPTIONS)).code == 0
    tiny_text.write_text(tiny_text.read_text() + "one more\n")
    assert cli("corpus", "encode", "other", *tiny_options).code == 0
    other = sets(*TINY_SETTINGS, *encoded_as("other"), *OPTIONS)
    outcome = cli("train", "-q", "--run", "run", "--resume", *other)
    assert (outcome.code, outcome.out) == (7, "")
    assert "corpus (there" in outcome.err
    (Path("run") / "run.json").unlink()
    outcome = cli("train", "-q", "--run", "run", "--resume", *other)
    assert (outcome.code, outcome.out) == (7, "")
    assert "corpus (there" in outcome.err


def test_another_name_is_still_another_run(cli, tiny_options):
    assert cli("train", "-q", "--run", "run", *tiny_options, *sets(*OPTIONS)).code == 0
    (Path("run") / "run.json").unlink()
    pydoc = sets(*TINY_SETTINGS, *OPTIONS, "corpus.name=pydoc")
    outcome = cli("train", "-q", "--run", "run", "--resume", *pydoc)
    assert outcome.code == 7
    assert 'corpus.name (there "text", here "pydoc")' in outcome.err


def test_other_settings_are_refused_with_what_to_type(cli, encoded):
    changes = ("vocab.min_count=3", "corpus.lowercase=true", "corpus.token_pattern='[a-z]+'")
    command = ("train", "--run", "run", *sets(*TINY_SETTINGS, *encoded_as("shared"), *OPTIONS))
    outcome = cli(*command, *sets(*changes))
    assert (outcome.code, outcome.out) == (2, "")
    assert (
        "w2v: error: shared has other settings: corpus.lowercase is true here, false there; "
        'corpus.token_pattern is "[a-z]+" here, null there; vocab.min_count is 3 here, 1 there\n'
        "hint: -s corpus.lowercase=false -s corpus.token_pattern=null -s vocab.min_count=1\n"
    ) in outcome.err
    assert not Path("run").exists()
    (hint,) = re.findall(r"^hint: (.*)$", outcome.err, re.MULTILINE)
    assert cli(*command, *sets(*changes), *hint.split()).code == 0


def test_the_hint_of_a_pattern_can_be_typed(cli, tiny_text):
    text = sets(*TINY_SETTINGS, f"corpus.path={tiny_text}")
    tiny_text.write_text("it's one\nit's two\n" * 60)
    pattern = sets(r"corpus.token_pattern='[^\s]+''s|\w+'")
    assert cli("corpus", "encode", "shared", *text, *pattern).code == 0
    command = ("corpus", "stats", "--no-time", *sets(*TINY_SETTINGS, *encoded_as("shared")))
    outcome = cli(*command)
    assert outcome.code == 2
    (hint,) = re.findall(r"^hint: (.*)$", outcome.err, re.MULTILINE)
    again = cli(*command, *shlex.split(hint))
    assert again.code == 0, again.err


def test_stats_are_those_of_the_text(cli, encoded, tiny_options):
    text = cli("corpus", "stats", "--no-time", *tiny_options)
    folder = cli("corpus", "stats", "--no-time", *sets(*TINY_SETTINGS, *encoded_as(encoded)))
    assert folder.code == 0, folder.err
    assert folder.out == text.out


def test_fetch_has_no_text_of_it(cli, encoded):
    outcome = cli("corpus", "fetch", *sets(*encoded_as(encoded)))
    assert (outcome.code, outcome.out) == (2, "")


def test_an_encoded_corpus_can_be_encoded_again(cli, encoded):
    options = sets(*TINY_SETTINGS, *encoded_as(encoded))
    assert cli("corpus", "encode", "copy", *options).code == 0
    assert {p.name: p.read_bytes() for p in Path("copy").iterdir()} == {
        p.name: p.read_bytes() for p in encoded.iterdir()
    }
    outcome = cli("corpus", "encode", "shared", "--force", *options)
    assert outcome.code == 5
    assert "shared is the corpus itself" in outcome.err


@pytest.mark.parametrize("hard_links", [True, False])
def test_the_copy_does_not_need_the_cache(cli, tiny_options, tmp_path, hard_links, monkeypatch):
    if not hard_links:

        def refuse(self, target):
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert cli("corpus", "encode", "shared", *tiny_options).code == 0
    (cached,) = (tmp_path / "data" / "corpora").iterdir()
    ids = [folder / "train_ids.npy" for folder in (cached, tmp_path / "shared")]
    assert ids[0].samefile(ids[1]) is hard_links
    for path in cached.iterdir():
        path.unlink()
    options = sets(*TINY_SETTINGS, *encoded_as("shared"))
    assert cli("corpus", "stats", "--no-time", *options).code == 0


def test_what_is_in_the_way(cli, tiny_options, tmp_path):
    def encode(name, *flags):
        return cli("corpus", "encode", name, *flags, *tiny_options)

    (tmp_path / "file").write_text("mine")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    for name, message in (("file", "file is a file"), ("mine", "mine holds thesis.txt, no part")):
        for flags in ((), ("--force",)):
            outcome = encode(name, *flags)
            assert (outcome.code, outcome.out) == (5, "")
            assert message in outcome.err
    assert not (tmp_path / "data").exists()  # it is told before the text is read
    assert encode("empty").code == 0
    refused = encode("empty")
    assert refused.code == 5
    assert "empty exists already" in refused.err
    assert "--force replaces it" in refused.err
    damaged = tmp_path / "empty" / "vocab.tsv"
    damaged.unlink()
    damaged.write_text("")
    assert encode("empty", "--force").code == 0
    assert damaged.stat().st_size > 0
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_link_is_followed_and_what_killed_copies_left_is_swept(cli, tiny_options, tmp_path):
    (tmp_path / "far" / "shared").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "shared")
    (tmp_path / "far" / f"{TEMP_PREFIX}stray").mkdir()
    outcome = cli("corpus", "encode", "link", *tiny_options)
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "link").is_symlink()
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["shared"]
    again = cli("corpus", "encode", "link", "--force", *tiny_options)
    assert again.code == 0, again.err
    assert (tmp_path / "link" / "corpus.json").is_file()
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["shared"]


# --- damaged, or made by others ---------------------------------------------------------------


def test_a_folder_made_as_the_page_says_trains(cli, made):
    assert len(opened(made, *MADE_OPTIONS).vocab) == 7
    (made.parent / "c.yaml").write_text("sampling: {subsample: null}\n")
    options = sets("model.dim=4", *OPTIONS, *MADE_OPTIONS, *encoded_as(made))
    outcome = cli("train", "-q", "--run", "run", "-c", "c.yaml", *options)
    assert outcome.code == 0, outcome.err
    assert (Path("run") / "vocab.tsv").read_text() == (made / "vocab.tsv").read_text()
    info = RunDir(Path("run")).read_info()
    assert info["corpus"]["words"] == 8
    assert info["corpus"]["sentences"] == 3
    assert info["corpus"]["raw_words"] == 9


def test_the_page_says_how_a_digest_is_made(tiny_text, tmp_path):
    settings = (*TINY_SETTINGS, f"corpus.path={tiny_text}", "vocab.min_count=2")
    config = load_config("text.yaml", settings).config
    corpus = open_corpus(config, data_folder=tmp_path)
    (line,) = re.findall(r'`(\{"format": 3.*?\})`', PAGE.read_text(), re.DOTALL)
    record = json.loads(line.replace("\n", " "))
    text = hashlib.sha256(tiny_text.read_bytes()).hexdigest()
    record |= {"train": [text], "heldout_every": 100, "min_count": 2, "rule": [True, None]}
    told = json.dumps(record, sort_keys=True).encode()
    assert hashlib.sha256(told).hexdigest() == corpus.digest


def test_every_file_that_is_missing_or_damaged_is_named(made):
    for name in (*file_names(), "corpus.json"):
        path, good = made / name, (made / name).read_bytes()
        path.unlink()
        with pytest.raises(DataError, match=re.escape(name)):
            opened(made, *MADE_OPTIONS)
        for damaged in (good[:-1], good + b" ", b"\xff" + good[1:]):
            path.write_bytes(damaged)
            if name != "corpus.json":
                with pytest.raises(DataError, match=rf"checksum mismatch: .*{re.escape(name)}"):
                    opened(made, *MADE_OPTIONS)
        path.write_bytes(good)
    opened(made, *MADE_OPTIONS)


@pytest.mark.parametrize("name", ["corpus.json", "train_ids.npy"])
def test_a_pipe_is_not_waited_for(made, name):
    (made / name).unlink()
    os.mkfifo(made / name)
    with pytest.raises(DataError, match=rf"{re.escape(name)} is no regular file"):
        opened(made, *MADE_OPTIONS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "it tells no format"),
        ('{"format": 2}', "format 2; this version reads 3"),
        ('{"format": 3}', "digest is not 64 hex digits"),
        ('{"format": 3, "digest": "%s"}' % ("0" * 64), "must be objects"),
        (
            '{"format": 3, "digest": "%s", "settings": {}, "sha256": {}}' % ("0" * 64),
            "settings lack corpus.heldout_every",
        ),
    ],
)
def test_a_manifest_that_makes_no_sense(made, text, complaint):
    (made / "corpus.json").write_text(text)
    with pytest.raises(DataError, match=complaint) as error:
        opened(made, *MADE_OPTIONS)
    assert "corpus.json" in str(error.value)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("nowhere", "nowhere is not there"),
        ("file", "file is a file"),
        ("empty", "empty is no encoded corpus: it has no corpus.json"),
    ],
)
def test_no_corpus_there(tmp_path, monkeypatch, path, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=complaint):
        opened(path)


def with_array(name, numbers):
    return lambda folder: np.save(folder / name, numbers)


def with_text(name, text):
    return lambda folder: (folder / name).write_bytes(text)


def npy(shape):
    """A spectrum whose header says this shape."""
    text = b"{'descr': '<i8', 'fortran_order': False, 'shape': " + shape + b", }\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(32)


def words_of(*counts):
    """A vocabulary of words that occur so often."""
    return "\n".join(["<unk>\t1", *(f"w{i}\t{n}" for i, n in enumerate(counts)), ""]).encode()


# Each falls, and their differences are positive where they wrap around.
WRAPPING = np.array([0, 3, 2**63 - 1, -(2**63), -1, 8])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (with_array("train_ids.npy", np.full(8, 7, "<i4")), "train_ids.npy: expected ids from 1 t"),
        (with_array("train_ids.npy", np.full(8, -1, "<i4")), "train_ids.npy: expected ids from 1"),
        (with_array("train_ids.npy", np.full(8, 0, "<i4")), "train_ids.npy: expected ids from 1"),
        (with_array("train_ids.npy", np.ones(8, "<i8")), "train_ids.npy: expected a .npy file"),
        (with_array("train_ids.npy", np.ones(9, "<i4")), "train_offsets.npy: expected offsets fr"),
        (with_array("train_offsets.npy", np.array([0, 5, 3, 8])), "offsets that never fall"),
        (with_array("train_offsets.npy", np.array([-1, 3, 5, 8])), "offsets that never fall"),
        (with_array("train_offsets.npy", np.array([1, 3, 5, 8])), "expected offsets from 0 to 8"),
        (with_array("train_offsets.npy", np.array([0, 3])), "expected offsets from 0 to 8"),
        (with_array("train_offsets.npy", WRAPPING), "offsets that never fall"),
        (with_array("heldout_offsets.npy", np.zeros(0, "<i8")), "heldout_offsets.npy: expected o"),
        (with_array("spectrum.npy", np.zeros((2, 3), "<i8")), "spectrum.npy: expected two columns"),
        (with_array("spectrum.npy", np.zeros((2, 2))), "spectrum.npy: expected int64"),
        (with_text("spectrum.npy", b"no array"), "spectrum.npy: no .npy file"),
        (with_text("vocab.tsv", b"red\t1\n"), "vocab.tsv: line 1: expected <unk>"),
        (with_text("spectrum.npy", b"PK\x03\x04 no archive"), "spectrum.npy: no .npy file"),
        (
            with_text("spectrum.npy", npy(b"(%d, 2)" % 2**59)),
            r"\(576460752303423488, 2\) numbers by i",
        ),
        (
            with_text("spectrum.npy", npy(b"(%d, 2)" % 10**900)),
            r"spectrum.npy: \(10{75},?$|spectrum.npy: \(10{78} numbers by",
        ),
        (with_text("spectrum.npy", npy(b"(-1, 2)")), r"spectrum.npy: \(-1, 2\) numbers by"),
        (with_text("spectrum.npy", npy(b"-" * 9000 + b"1")), "spectrum.npy: no .npy file"),
        (with_text("vocab.tsv", b"<unk>\t1\n"), "vocab.tsv: expected words"),
        (with_text("vocab.tsv", words_of(1, 1, 2, 1, 1, 1)), "vocab.tsv: expected counts that ne"),
        (with_text("vocab.tsv", words_of(3, 2, 1, 1, 1, 1)), "vocab.tsv: counts of 9, but 8 ids"),
        (with_text("vocab.tsv", words_of(*[10**18 - 1] * 6)), "vocab.tsv: its counts add up to m"),
        (with_text("vocab.tsv", b"<unk>\t1\nred\t0\n"), "vocab.tsv: expected words, each"),
        (with_text("vocab.tsv", b"\xff"), "vocab.tsv or dropped.tsv is not UTF-8"),
        (with_text("dropped.tsv", b"red"), "dropped.tsv: line 1: expected word"),
    ],
)
def test_a_folder_that_contradicts_itself(made, change, complaint, monkeypatch):
    change(made)
    renew(made)
    for at_once in (1, 3, 2**20):
        monkeypatch.setattr(portable, "CHECKED_AT_ONCE", at_once)
        with pytest.raises(DataError, match=complaint):
            opened(made, *MADE_OPTIONS)


def test_what_a_manifest_says_is_shown_in_part_and_on_one_line(made):
    about = json.loads((made / "corpus.json").read_text())
    about["sha256"]["vocab.tsv"] = "\x1b[2J\n" + "x" * 10_000
    (made / "corpus.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="checksum mismatch") as error:
        opened(made, *MADE_OPTIONS)
    assert 'corpus.json says "\\u001b[2J\\nxxx' in str(error.value)
    assert len(str(error.value)) < 400
    assert "\n" not in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read(made):
    (made / "train_ids.npy").chmod(0)
    with pytest.raises(StorageError, match=r"cannot read .*train_ids\.npy"):
        opened(made, *MADE_OPTIONS)


def test_settings_are_compared_before_files_are_read(made, monkeypatch):
    monkeypatch.setattr(portable, "digest_of", None)
    with pytest.raises(ConfigError, match=r"vocab\.min_count is 5 here, 1 there"):
        opened(made, "vocab.max_size=6")


@pytest.mark.parametrize("path", ["null", "[a, b]"])
def test_one_folder_is_wanted(path):
    with pytest.raises(ConfigError, match=r"corpus\.name=encoded needs corpus\.path: one folder"):
        load_config("text.yaml", ("corpus.name=encoded", f"corpus.path={path}"))


def test_a_corpus_that_is_cut_short_under_training_is_an_error_not_a_signal(
    cli, tiny_options, tmp_path, monkeypatch
):
    def open_and_cut(*arguments, **options):
        corpus = open_corpus(*arguments, **options)
        os.truncate(corpus.train.ids_N.path, 4000)
        return corpus

    monkeypatch.setattr(survey, "open_corpus", open_and_cut)
    outcome = cli("train", "-q", "--run", "run", *tiny_options, *sets(*OPTIONS))
    assert (outcome.code, outcome.out) == (4, "")
    told = [line for line in outcome.err.splitlines() if "train_ids.npy: changed or cut" in line]
    assert len(told) == 1
    assert ".w2v-tmp" not in told[0]  # it was built a moment ago
    again = cli("train", "-q", "--run", "run", *tiny_options, *sets(*OPTIONS))
    assert again.code == 4  # cut again, but found damaged and built anew before
    assert "is damaged: building it anew" in again.err

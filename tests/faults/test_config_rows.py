"""Rows Y: configs and command lines. Nothing is written after exit 2."""

import os

import pytest
from test_loader import ALIAS_BOMB, MERGE_BOMB

from faults.outcome import expect, process


@pytest.fixture
def refused(cli, row, tmp_path):
    """Runs `w2v train` with a config, or options, that cannot be; returns the message."""

    def run(content=None, *options):
        arguments = list(options)
        if content is not None:
            data = content if isinstance(content, bytes) else content.encode()
            (tmp_path / "c.yaml").write_bytes(data)
            arguments += ["-c", "c.yaml"]
        before = sorted(tmp_path.iterdir())
        message = expect(row, cli("train", *arguments), 2)
        assert sorted(tmp_path.iterdir()) == before
        return message

    return run


@pytest.fixture
def settings(cli, row, tmp_path):
    """What `w2v config show` makes of a config: each line as `key: value`."""

    def run(content=b"train: {seed: 1}\n", *options):
        (tmp_path / "c.yaml").write_bytes(content)
        outcome = cli("config", "show", "-c", "c.yaml", *options)
        expect(row, outcome, 0)
        return [line.strip() for line in outcome.out.splitlines()]

    return run


@pytest.mark.fault("Y1")
@pytest.mark.parametrize("number", ["1e-3", "1E-3", "0.1e-2", "1.0E-3"])
def test_exponents_are_numbers(settings, number):
    assert "lr: 0.001" in settings(f"train: {{lr: {number}}}\n".encode())
    assert "lr: 0.001" in settings(b"train: {seed: 1}\n", "-s", f"train.lr={number}")
    assert "lr: 1.0" in settings(b"train: {lr: 1e+0}\n")


@pytest.mark.fault("Y2")
@pytest.mark.parametrize("word", ["no", "off", "on", "y", "yes", "nan", "N", "True", "Null"])
def test_words_are_words(settings, word):
    assert any(
        line in settings(f"output: {{run: {word}}}\n".encode())
        for line in (f"run: {word}", f'run: "{word}"')
    )


@pytest.mark.fault("Y2")
def test_null_is_no_word_and_true_wants_quotes(settings, refused):
    for nothing in ("null", "~"):
        assert "run: null" in settings(f"output: {{run: {nothing}}}\n".encode())
        assert f'run: "{nothing}"' in settings(f"output: {{run: '{nothing}'}}\n".encode())
    assert "quote it: 'true'" in refused("output: {run: true}\n")
    assert 'run: "true"' in settings(b"output: {run: 'true'}\n")


@pytest.mark.fault("Y3")
@pytest.mark.parametrize("number", ["010", "0x10", "1_000", "12:30", "2026-11-21"])
def test_numbers_of_other_kinds(refused, number):
    assert f"found '{number}'" in refused(f"train: {{epochs: {number}}}\n")
    assert f"found '{number}'" in refused(None, "-s", f"train.epochs={number}")


@pytest.mark.fault("Y4")
def test_a_key_twice(refused):
    message = refused("train:\n  lr: 0.1\n  seed: 2\n  lr: 0.2\n")
    assert message == "c.yaml:4:3: duplicate key 'lr'; first at line 2"


@pytest.mark.fault("Y5")
@pytest.mark.parametrize(
    ("content", "meant"),
    [
        ("vocab: {min_cuont: 3}\n", "min_count"),
        ("train: {Seed: 3}\n", "seed"),
        ("trian: {seed: 3}\n", "train"),
        ("train: {window: 3}\n", "sampling.window"),
    ],
)
def test_an_unknown_key(refused, content, meant):
    assert f"did you mean '{meant}'?" in refused(content)


@pytest.mark.fault("Y5")
def test_an_unknown_key_among_the_options(refused):
    assert "did you mean 'min_count'?" in refused(None, "-s", "vocab.min_cuont=3")


@pytest.mark.fault("Y6")
@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("epochs: true", "true"),
        ("epochs: [1]", "a list"),
        ("epochs: {a: 1}", "a mapping"),
        ("epochs: '3'", "'3'"),
        ("epochs: 1.5", "1.5"),
        ("epochs: null", "null"),
        ("lr: 'x'", "'x'"),
        ("optimizer: 3", "3"),
    ],
)
def test_a_wrong_type(refused, setting, found):
    message = refused(f"train:\n  {setting}\n")
    assert message.startswith("c.yaml:2:3: train.")
    assert f"found {found}" in message


@pytest.mark.fault("Y7")
@pytest.mark.parametrize(
    "value", [".nan", ".inf", "-1", "0", "1e308", "1e999", str(10**30), "11", "-0.0"]
)
def test_numbers_out_of_range(refused, value):
    assert "train.lr: expected a number above 0, at most 10" in refused(f"train: {{lr: {value}}}\n")
    assert "train.epochs: expected a whole number from 1 to 10000" in refused(
        None, "-s", f"train.epochs={value if value != '11' else 10_001}"
    )


@pytest.mark.fault("Y8")
@pytest.mark.parametrize("bomb", [ALIAS_BOMB, MERGE_BOMB, "a: &a [*a]\n"])
def test_bombs(refused, bomb):
    refused(bomb)


@pytest.mark.fault("Y9")
@pytest.mark.parametrize("depth", [1_000, 30_000, 100_000])
def test_deep_nesting(refused, depth):
    refused(f"a: {'[' * depth}")
    refused(None, "-s", f"train.lr={'[' * depth}")


@pytest.mark.fault("Y9")
def test_an_integer_of_5000_digits(refused):
    refused(f"train: {{seed: {'9' * 5000}}}\n")
    refused(None, "-s", f"train.seed={'9' * 5000}")


@pytest.mark.fault("Y10")
@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.mkdir [canary]",
        "!!python/object/new:os.mkdir [canary]",
        "!!python/name:os.mkdir",
        "!!binary aGVsbG8=",
        "!!int 3",
        "!mine {a: 1}",
        "!!set {a}",
    ],
)
def test_tags_build_nothing(refused, tmp_path, value):
    refused(f"train:\n  seed: {value}\n")
    refused(None, "-s", f"train.seed={value}")
    assert not (tmp_path / "canary").exists()


@pytest.mark.fault("Y11")
@pytest.mark.parametrize(
    "content",
    [
        b"train: {seed: 1}\nvocab: {max_size: \xff}\n",
        b"train:\n\tseed: 1\n",
        b"train: {seed: 1\0}\n",
        "train: {seed: 1}\n".encode("utf-16"),
        "train: {seed: 1}\n".encode("utf-16-le"),
    ],
    ids=["latin", "tab", "NUL", "UTF-16", "UTF-16 without mark"],
)
def test_bytes_that_are_no_text(refused, content):
    assert refused(content).startswith("c.yaml:")


@pytest.mark.fault("Y11")
def test_an_option_that_is_no_text(refused):
    refused(None, "-s", b"train.se\xffed=1".decode(errors="surrogateescape"))


@pytest.mark.fault("Y11")
@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbftrain:\n  seed: 77\n", b"train:\r\n  seed: 77\r\n"]
)
def test_a_byte_order_mark_and_crlf_are_fine(settings, content):
    assert "seed: 77" in settings(content)


@pytest.mark.fault("Y12")
@pytest.mark.parametrize("content", ["", "# nothing\n", "[]", "5", "train", "a: 1\n--- \nb: 2\n"])
def test_no_mapping(refused, content):
    refused(content)


@pytest.mark.fault("Y13")
def test_no_file(refused, row, cli, tmp_path):
    refused(None, "-c", "nowhere.yml")
    (tmp_path / "folder.yaml").mkdir()
    refused(None, "-c", "folder.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    refused(None, "-c", "pipe.yaml")
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(2**30)
    refused(None, "-c", "huge.yaml")


@pytest.mark.fault("Y13")
def test_an_unreadable_file(row, tmp_path, read_only):
    (tmp_path / "c.yaml").write_text("train: {seed: 1}\n")
    with read_only(tmp_path / "c.yaml", 0):
        expect(row, process("train", "-c", "c.yaml", cwd=tmp_path, humble=True), 2)


@pytest.mark.fault("Y14")
@pytest.mark.parametrize("k", ["0", "-1", "x", "1.5"])
def test_an_impossible_k(row, cli, k):
    expect(row, cli("similar", "a", "-k", k), 2)


@pytest.mark.fault("Y14")
@pytest.mark.parametrize("arguments", [["--sed=1"], ["--frobnicate"], ["-Z"]])
def test_an_unknown_flag(refused, arguments):
    refused(None, *arguments)


@pytest.mark.fault("Y14")
@pytest.mark.parametrize("command", ["tarin", "frobnicate"])
def test_an_unknown_command(row, cli, command):
    expect(row, cli(command), 2)


@pytest.mark.fault("Y14")
def test_a_k_above_the_vocabulary_is_clipped(row, cli, tmp_path):
    (tmp_path / "v.txt").write_text("3 1\na 1\nb 2\nc -1\n")
    outcome = cli("similar", "a", "-k", 10**9, "--vectors", "v.txt")
    expect(row, outcome, 0, warned=True)
    assert outcome.out == "b\t1.0000\nc\t-1.0000\n"

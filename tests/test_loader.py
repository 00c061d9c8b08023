import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from w2v.errors import ConfigError
from w2v.loader import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_PROBLEMS,
    Document,
    Place,
    Problem,
    overlay,
    read_override,
    read_yaml,
    refusal,
    shown,
)

ALIAS_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE_BOMB = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{','.join([f'*{old}'] * 9)}]}}\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads a text or bytes as the file `c.yaml` of the current folder."""
    monkeypatch.chdir(tmp_path)

    def read_content(content) -> Document:
        path = tmp_path / "c.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_yaml(path.relative_to(tmp_path))

    return read_content


@pytest.fixture
def refused(read):
    """The message with which a content is refused."""

    def message(content) -> str:
        with pytest.raises(ConfigError) as caught:
            read(content)
        return str(caught.value)

    return message


NUMBERS = {
    "12": 12,
    "-3": -3,
    "+3": 3,
    "0": 0,
    "-0": 0,
    "1e-3": 0.001,
    "1E-3": 0.001,
    "1e+3": 1000.0,
    "1.0e-4": 0.0001,
    ".5": 0.5,
    "5.": 5.0,
    "-2.0": -2.0,
    "0.75": 0.75,
}
TEXTS = [
    "no",
    "yes",
    "on",
    "off",
    "y",
    "N",
    "n",
    "Y",
    "No",
    "YES",
    "True",
    "TRUE",
    "Null",
    "NULL",
    "None",
    "010",
    "017",
    "00",
    "0x10",
    "0o17",
    "1_000",
    "12:30",
    "2026-11-21",
    "2026-11-21T12:30:00",
    "nan",
    "NaN",
    ".nan",
    ".inf",
    "-.inf",
    "inf",
    "1e",
    "1e3.5",
    "e5",
    ".",
    "-.",
    "0.1.2",
    "ten",
    "1st",
    "=",
    "0b11",
    "١٢",
    "²",
]


@pytest.mark.parametrize(("written", "value"), NUMBERS.items())
def test_decimal_numbers(read, written, value):
    found = read(f"a: {written}\nb: [{written}]\n").values
    assert found == {"a": value, "b": [value]}
    assert type(found["a"]) is type(value)


@pytest.mark.parametrize("text", TEXTS)
def test_everything_else_stays_text(read, text):
    assert read(f"a: {text}\nb: [{text}, {text}]\n").values == {"a": text, "b": [text, text]}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("{b: , c: 1}", {"b": None, "c": 1}),
        ("{}", {}),
        ("[]", []),
        ("# only a comment", None),
    ],
)
def test_words_and_empties(read, written, value):
    found = read(f"a: {written}\n").values["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["1", "1e-3", "true", "null", "~", "", "<<", "no", "&a", "*a", "!x"]
)
def test_quoted_scalars_are_text(read, text):
    assert read(f"a: '{text}'\nb: \"{text}\"\n").values == {"a": text, "b": text}
    assert read(f"'{text}': 1").values == {text: 1}


def test_block_scalars_are_text(read):
    assert read("a: |\n  1\nb: >-\n  true\n").values == {"a": "1\n", "b": "true"}


def test_places_are_those_of_keys_and_items(read):
    document = read("# note\ntrain:\n  lr: 1e-3\n  words: [no,\n    'yes']\n")
    assert document.source == "c.yaml"
    assert document.places == {
        (): Place("c.yaml", 2, 1),
        ("train",): Place("c.yaml", 2, 1),
        ("train", "lr"): Place("c.yaml", 3, 3, "1e-3"),
        ("train", "words"): Place("c.yaml", 4, 3),
        ("train", "words", 0): Place("c.yaml", 4, 11, "no"),
        ("train", "words", 1): Place("c.yaml", 5, 5),
    }
    assert str(document.places["train", "lr"]) == "c.yaml:3:3"


def test_byte_order_mark_and_crlf_are_fine(read):
    document = read(b"\xef\xbb\xbftrain:\r\n  lr: 1\r\n  seed: 2\r\n")
    assert document.values == {"train": {"lr": 1, "seed": 2}}
    assert document.places["train", "seed"] == Place("c.yaml", 3, 3, "2")


@pytest.mark.parametrize(
    "content", ["--- \na: 1\n", "a: 1\n...\n", "%YAML 1.2\n---\na: 1\n", '{"a": 1}', "? a\n: 1\n"]
)
def test_other_spellings_of_one_mapping(read, content):
    assert read(content).values == {"a": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "c.yaml:1:1: expected a mapping of sections; found nothing"),
        ("# note\n", "c.yaml:1:1: expected a mapping of sections; found nothing"),
        ("[]", "c.yaml:1:1: expected a mapping of sections; found a list"),
        ("5", "c.yaml:1:1: expected a mapping of sections; found a single value"),
        ("a: 1\n--- \nb: 2\n", "c.yaml:2:1: a second document; keep one"),
        ("a: 1\n---", "c.yaml:2:1: a second document; keep one"),
        ("%YAML 1.1\n--- \na: 1\n", "c.yaml:1:1: a % directive; w2v reads plain YAML 1.2"),
        ("%TAG ! x:\n--- \na: 1\n", "c.yaml:1:1: a % directive; w2v reads plain YAML 1.2"),
        ("a: &x 1\n", "c.yaml:1:4: anchor &x: remove it"),
        ("a: &x {b: 1}\n", "c.yaml:1:4: anchor &x: remove it"),
        ("a: &x [*x]\n", "c.yaml:1:4: anchor &x: remove it"),
        ("&x a: 1\n", "c.yaml:1:1: anchor &x: remove it"),
        ("b: 2\na: *x\n", "c.yaml:2:4: alias *x: write the value out"),
        ("a: [*.txt]\n", "c.yaml:1:6: text that begins with * needs quotes"),
        ("a:\n  <<: {b: 1}\n", "c.yaml:2:3: a merge key (<<): write the settings out"),
        ("a: !!int 3\n", "c.yaml:1:4: tag !!int: remove it"),
        ("a: !!str no\n", "c.yaml:1:4: tag !!str: remove it"),
        ("a: ! no\n", "c.yaml:1:4: tag !: remove it"),
        ("a: !mine {b: 1}\n", "c.yaml:1:4: tag !mine: remove it"),
        ("a: !!set {b}\n", "c.yaml:1:4: tag !!set: remove it"),
        ("!!map {a: 1}\n", "c.yaml:1:1: tag !!map: remove it"),
        ("1: a\n", "c.yaml:1:1: expected a name as key; found '1'"),
        ("a:\n  null: a\n", "c.yaml:2:3: expected a name as key; found 'null'"),
        ("true: a\n", "c.yaml:1:1: expected a name as key; found 'true'"),
        ("? [a]\n: 1\n", "c.yaml:1:3: expected a name as key; found a list or a mapping"),
        ("a: " + "9" * 101, "c.yaml:1:4: a number of more than 100 digits"),
        ("a: 0." + "9" * 5000, "c.yaml:1:4: a number of more than 100 digits"),
        ("a:\n\tb: 1\n", "c.yaml:2:1: a tab cannot indent YAML; use spaces"),
        ("a: 1\nb: x\0y\n", "c.yaml:2:5: the character U+0000 has no place in YAML"),
        ("a: 1\r\nb: \x07\r\n", "c.yaml:2:4: the character U+0007 has no place in YAML"),
        (b"a: 1\nb: \xff\n", "c.yaml:2:4: is not valid UTF-8; save the file as UTF-8"),
        (b"a: 1\r\nb: g\xfc\r\n", "c.yaml:2:5: is not valid UTF-8; save the file as UTF-8"),
        ("a: 1".encode("utf-16"), "c.yaml:1:1: is UTF-16; save it as UTF-8"),
        (b"\xfe\xff" + "a: 1".encode("utf-16-be"), "c.yaml:1:1: is UTF-16; save it as UTF-8"),
        ("a: 1".encode("utf-16-le"), "c.yaml:1:2: the character U+0000 has no place in YAML"),
        ('a: "\\0"\n', "c.yaml:1:4: an escape that stands for no character"),
        ('a: "\\ud800"\n', "c.yaml:1:4: an escape that stands for no character"),
        (
            "a: b: c\n",
            "c.yaml:1:5: is not valid YAML: mapping values are not allowed here",
        ),
        (
            "a: {b: 1\n",
            "c.yaml:2:1: is not valid YAML: expected ',' or '}', but got '<stream end>' "
            "(while parsing a flow mapping)",
        ),
    ],
)
def test_refused_with_its_place(refused, content, message):
    assert refused(content) == message


def test_an_escape_beyond_unicode_is_refused(refused):
    assert refused('a: 1\nb: "\\UFFFFFFFF"\n').startswith("c.yaml:2:2: what follows is not valid")


def test_duplicate_keys_are_collected_and_the_first_stays(read):
    document = read("a:\n  lr: 1\n  seed: 2\n  lr: [3]\na: {b: 1}\n")
    assert document.values == {"a": {"lr": 1, "seed": 2}}
    assert document.places["a", "lr"] == Place("c.yaml", 2, 3, "1")
    assert document.problems == [
        Problem(Place("c.yaml", 4, 3), "duplicate key 'lr'; first at line 2"),
        Problem(Place("c.yaml", 5, 1), "duplicate key 'a'; first at line 1"),
    ]


@pytest.mark.parametrize("bomb", [ALIAS_BOMB, MERGE_BOMB], ids=["alias", "merge"])
def test_bombs_do_not_go_off(refused, bomb):
    started_at = time.perf_counter()
    assert refused(bomb) == "c.yaml:1:4: anchor &a: remove it"
    assert time.perf_counter() - started_at < 0.2


@pytest.mark.parametrize("depth", [1_000, 30_000])
@pytest.mark.parametrize(
    ("opening", "closing"),
    [("[", ""), ("[", "]"), ("{a: ", ""), ("- ", ""), ("? ", ""), ("[\n", "")],
)
def test_deep_nesting_is_refused_at_once(refused, opening, closing, depth):
    content = "a: " * (opening[0] in "[{") + opening * depth + closing * depth
    started_at = time.perf_counter()
    assert refused(content[:MAX_BYTES]).endswith(f": nested more than {MAX_DEPTH} deep")
    assert time.perf_counter() - started_at < 2


def test_nesting_100_000_deep_in_an_option_is_too_big():
    with pytest.raises(ConfigError, match=f"the value is over {MAX_BYTES} bytes"):
        read_override("train.lr=" + "[" * 100_000)


def test_nesting_100_000_deep_is_too_big(refused):
    assert refused("[" * 100_000) == f"c.yaml: is over {MAX_BYTES} bytes, too big for a config"


def test_the_depth_that_is_allowed(read):
    value = 1
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert read(f"a: {value}").values == {"a": value}


def test_a_tag_builds_nothing(refused, tmp_path):
    canary = tmp_path / "canary"
    tag = "!!python/object/apply:os.system"
    assert refused(f"a: {tag} ['touch {canary}']\n") == f"c.yaml:1:4: tag {tag}: remove it"
    assert not canary.exists()


def test_size_limit_to_the_byte(read, refused):
    whole = "a: 1\n" + "#" * (MAX_BYTES - 5)
    assert read(whole).values == {"a": 1}
    assert "too big" in refused(whole + "#")


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ConfigError, match="too big for a config"):
        read_yaml(path)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file$"):
        read_yaml(tmp_path / "none.yaml")


def test_a_folder(tmp_path):
    with pytest.raises(ConfigError, match=r"expected a YAML file; found a folder$"):
        read_yaml(tmp_path)


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match=r"found a pipe or a device$"):
        read_yaml(tmp_path / "pipe.yaml")


def test_a_device():
    with pytest.raises(ConfigError, match=r"found a pipe or a device$"):
        read_yaml(Path("/dev/zero"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("a: 1")
    path.chmod(0)
    with pytest.raises(ConfigError, match=r"cannot be read: Permission denied$"):
        read_yaml(path)


def test_a_failing_disk(tmp_path, monkeypatch):
    path = tmp_path / "c.yaml"
    path.touch()

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pathlib.Path.open", fail)
    with pytest.raises(ConfigError, match=r"c\.yaml: cannot be read: Input/output error$"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("train.lr=1e-3", {"train": {"lr": 0.001}}),
        ("a.b=[no,yes]", {"a": {"b": ["no", "yes"]}}),
        ("a.b=x=y", {"a": {"b": "x=y"}}),
        ("a.b==", {"a": {"b": "="}}),
        ("a.b=", {"a": {"b": None}}),
        ("a.b=null", {"a": {"b": None}}),
        ("a.b='1'", {"a": {"b": "1"}}),
        ("a.b={c: 1}", {"a": {"b": {"c": 1}}}),
        ("a={b: 1}", {"a": {"b": 1}}),
        ("a=1", {"a": 1}),
        ("a.b.c=1", {"a": {"b": {"c": 1}}}),
        (" a.b =1", {"a": {"b": 1}}),
    ],
)
def test_overrides(override, values):
    document = read_override(override)
    assert document.values == values
    assert {str(place) for place in document.places.values()} == {f"--set {override}"}


def test_places_of_an_override_reach_into_its_value():
    places = read_override("a={b: [1, no]}").places
    assert set(places) == {("a",), ("a", "b"), ("a", "b", 0), ("a", "b", 1)}
    assert places["a", "b", 1].spelled == "no"


@pytest.mark.parametrize(
    "override", ["", "epochs", "=3", "a.=3", ".a=3", "a..b=3", "a." * 9 + "b=1"]
)
def test_overrides_without_a_key_or_a_value(override):
    with pytest.raises(ConfigError) as caught:
        read_override(override)
    expected = "expected SECTION.KEY=VALUE, for example train.epochs=3"
    assert str(caught.value) == f"--set {override}: {expected}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("&x 1", "anchor &x: remove it"),
        ("!!int 1", "tag !!int: remove it"),
        ("*.txt", "text that begins with * needs quotes"),
        ("[", "is not valid YAML: expected the node content, but found '<stream end>'"),
        ("1\n--- 2", "a second document; keep one"),
        ("\udcff", "the character U+DCFF has no place in YAML"),
    ],
)
def test_refused_overrides(value, message):
    with pytest.raises(ConfigError) as caught:
        read_override(f"a.b={value}")
    assert str(caught.value).startswith(f"--set {shown(f'a.b={value}')}: {message}")


def test_duplicates_in_an_override_have_no_line():
    problems = read_override("a={b: 1, b: 2}").problems
    assert problems == [Problem(Place("--set a={b: 1, b: 2}"), "duplicate key 'b'")]


def test_overlay_lets_the_last_one_win(read):
    first = read("train: {lr: 1, seed: 2}\n")
    values, places = overlay([first, read_override("train.lr=3"), read_override("vocab.x=4")])
    assert values == {"train": {"lr": 3, "seed": 2}, "vocab": {"x": 4}}
    assert str(places["train", "lr"]) == "--set train.lr=3"
    assert str(places["train", "seed"]) == "c.yaml:1:16"
    assert str(places["train",]) == "c.yaml:1:1"
    assert first.values == {"train": {"lr": 1, "seed": 2}}


def test_overlay_keeps_an_empty_section_for_the_report(read):
    values, _ = overlay([read("train:\n"), read_override("train.lr=3")])
    assert values == {"train": None}


def test_refusal_sorts_and_counts():
    documents = [Document(source, {}, {}, []) for source in ("z.yaml", "--set b", "--set a")]
    problems = [
        Problem(Place("--set a"), "fourth"),
        Problem(Place("--set b"), "third"),
        Problem(Place("z.yaml", 10, 1), "second"),
        Problem(Place("z.yaml", 9, 3), "first"),
    ]
    assert str(refusal(problems, documents)).splitlines() == [
        "4 problems in z.yaml",
        "z.yaml:9:3: first",
        "z.yaml:10:1: second",
        "--set b: third",
        "--set a: fourth",
    ]
    assert str(refusal(problems[:2], documents)).splitlines()[0] == "2 problems in the options"
    assert str(refusal(problems[:1], documents)) == "--set a: fourth"


def test_refusal_ends_somewhere():
    document = Document("c.yaml", {}, {}, [])
    problems = [Problem(Place("c.yaml", line, 1), "wrong") for line in range(1, 1001)]
    lines = str(refusal(problems, [document])).splitlines()
    assert lines[0] == "1000 problems in c.yaml"
    assert len(lines) == MAX_PROBLEMS + 2
    assert lines[-1] == f"and {1000 - MAX_PROBLEMS} more"


def complaint(read_it) -> str | None:
    """The message of the ConfigError that reading ends in; anything else fails the test."""
    try:
        read_it()
    except ConfigError as error:
        return str(error)
    return None


@settings(deadline=None)
@given(st.text(max_size=40) | st.text("a:[]{}&*!<>'\"\\\n\t -,#%?|~1e.=", max_size=40))
def test_any_text_is_read_or_refused(text):
    message = complaint(lambda: read_override(f"a.b={text}"))
    assert message is None or (message.startswith("--set a.b=") and "\n" not in message)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    message = complaint(lambda: read_yaml(path))
    assert message is None or message.startswith(f"{path}:")


def test_the_loader_of_others_is_left_alone():
    assert yaml.safe_load("a: 1e-3") == {"a": "1e-3"}
    code = (
        "import yaml; r = repr(yaml.SafeLoader.yaml_implicit_resolvers), "
        "repr(yaml.SafeLoader.yaml_constructors)\n"
        "import w2v.loader\n"
        "assert r == (repr(yaml.SafeLoader.yaml_implicit_resolvers), "
        "repr(yaml.SafeLoader.yaml_constructors))\n"
        "assert yaml.safe_load('a: no') == {'a': False}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

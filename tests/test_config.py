import json
import subprocess
import sys
import time
from pathlib import Path
from types import NoneType
from typing import get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from w2v import configfile as module
from w2v.cli.config import config_app
from w2v.config import (
    IN_PLACE,
    SECTIONS,
    SETTINGS,
    Config,
    CorpusSection,
    SamplingSection,
    TrainSection,
    dump_yaml,
    json_schema,
)
from w2v.configfile import find_config, load_config, shipped_folder
from w2v.errors import ConfigError

HEX = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def _shipped(tmp_path, monkeypatch):
    """An empty current folder `here`, and two shipped configs."""
    here, shipped = tmp_path / "here", tmp_path / "shipped"
    here.mkdir()
    shipped.mkdir()
    (shipped / "ptb.yaml").write_text("corpus: {name: ptb}\n")
    (shipped / "quickstart.yaml").write_text("train: {epochs: 2}\n")
    monkeypatch.setattr(module, "shipped_folder", lambda: shipped)
    monkeypatch.chdir(here)


def load(text: str, *overrides: str, **flags) -> Config:
    Path("c.yaml").write_text(text)
    dotted = {name.replace("__", "."): value for name, value in flags.items()}
    return load_config("c.yaml", overrides, flags=dotted).config


def refused(text: str, *overrides: str, **flags) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, *overrides, **flags)
    return str(caught.value)


def test_an_empty_mapping_is_the_defaults():
    config = load("{}")
    assert config == Config()
    assert config.vocab.min_count == 10
    assert config.train.lr == 0.002
    assert config.sampling.subsample == 1e-4
    assert config.train.kernel == "auto"


def test_the_settings_that_others_rely_on_are_there():
    promised = {
        "corpus": {"name", "path", "url", "sha256", "lowercase", "token_pattern"},
        "vocab": {"min_count", "max_size"},
        "sampling": {"window", "negatives", "noise_power", "subsample", "subsample_formula"},
        "model": {"dim", "init_from", "freeze"},
        "train": {"kernel", "epochs", "batch_size", "optimizer", "lr", "lr_schedule", "seed"}
        | {"device", "threads"},
        "distributed": {"sync_words"},
        "output": {"run", "checkpoint_every_s", "keep_checkpoints"},
    }
    for name, keys in promised.items():
        assert keys <= set(SECTIONS[name].model_fields)
    assert set(promised) == set(SECTIONS)


def test_every_setting_has_a_description_of_one_line():
    for section in (Config, *SECTIONS.values()):
        for key, field in section.model_fields.items():
            assert field.description, key
            assert "\n" not in field.description


@pytest.mark.parametrize("section", [Config, *SECTIONS.values()])
def test_sections_are_frozen(section):
    made = section()
    with pytest.raises(ValidationError):
        setattr(made, next(iter(section.model_fields)), None)


def test_values_of_every_kind():
    config = load(
        "corpus: {name: text, path: [no, off, 'null', '1987'], lowercase: true,"
        " token_pattern: '[a-z]+'}\n"
        "train: {lr: 1E-3, epochs: 3}\nsampling: {noise_power: 1, subsample: null}\n"
        "vocab: {max_size: ~}\noutput: {run: runs/a, checkpoint_every_s: 30}\n"
    )
    assert config.corpus.path == ["no", "off", "null", "1987"]
    assert config.corpus.lowercase is True
    assert config.train.lr == 0.001
    assert type(config.sampling.noise_power) is float
    assert config.sampling.subsample is None
    assert config.output.checkpoint_every_s == 30.0


def test_a_digest_may_be_in_capitals():
    config = load(f"corpus: {{name: ptb, sha256: {HEX.upper()}}}")
    assert config.corpus.sha256 == HEX


@pytest.mark.parametrize(
    ("key", "written", "complaint"),
    [
        # a whole number
        ("vocab.min_count", "ten", "expected a whole number from 1 to 1000000000; found 'ten'"),
        (
            "vocab.min_count",
            "1_000",
            "expected a whole number from 1 to 1000000000; found '1_000'; write a plain decimal",
        ),
        ("train.epochs", "0", "expected a whole number from 1 to 10000; found 0"),
        ("train.epochs", "-3", "expected a whole number from 1 to 10000; found -3"),
        ("train.epochs", "true", "expected a whole number from 1 to 10000; found true"),
        ("train.epochs", "null", "expected a whole number from 1 to 10000; found null"),
        ("train.epochs", "", "expected a whole number from 1 to 10000; found nothing"),
        ("train.epochs", "''", "expected a whole number from 1 to 10000; found ''"),
        ("train.epochs", "[5]", "expected a whole number from 1 to 10000; found a list"),
        ("train.epochs", "{a: 5}", "expected a whole number from 1 to 10000; found a mapping"),
        ("train.epochs", "2.5", "expected a whole number from 1 to 10000; found 2.5"),
        ("train.epochs", "5.0", "expected a whole number from 1 to 10000; found 5.0; write 5"),
        ("train.epochs", "1e3", "expected a whole number from 1 to 10000; found 1e3; write 1000"),
        (
            "train.epochs",
            "'5'",
            "expected a whole number from 1 to 10000; found '5'; remove the quotes",
        ),
        (
            "train.seed",
            "9223372036854775808",
            "expected a whole number from 0 to 9223372036854775807; found 9223372036854775808",
        ),
        (
            "model.dim",
            f"1{'0' * 30}",
            f"expected a whole number from 1 to 10000; found 1{'0' * 30}",
        ),
        ("sampling.window", "101", "expected a whole number from 1 to 100; found 101"),
        (
            "corpus.heldout_every",
            "1",
            "expected a whole number from 2 to 1000000000, or null; found 1",
        ),
        (
            "train.threads",
            "None",
            "expected a whole number from 1 to 1024, or null; found 'None'; write null",
        ),
        # almost numbers
        *(
            (
                "model.dim",
                almost,
                f"expected a whole number from 1 to 10000; found '{almost}'; write a plain decimal",
            )
            for almost in ("010", "0x10", "0o17", "12:30", "2026-11-21", "1e", "5 %")
        ),
        # a number
        ("train.lr", "0", "expected a number above 0, at most 10; found 0"),
        ("train.lr", "-0.1", "expected a number above 0, at most 10; found -0.1"),
        ("train.lr", "1e308", "expected a number above 0, at most 10; found 1e308"),
        ("train.lr", "1e999", "expected a number above 0, at most 10; found 1e999"),
        ("train.lr", ".nan", "expected a number above 0, at most 10; found '.nan'"),
        ("train.lr", "nan", "expected a number above 0, at most 10; found 'nan'"),
        ("train.lr", "false", "expected a number above 0, at most 10; found false"),
        ("output.checkpoint_every_s", "0", "expected a number above 0; found 0"),
        ("output.checkpoint_every_s", "1e999", "expected a number above 0; found 1e999"),
        ("sampling.noise_power", "2.5", "expected a number from 0 to 2; found 2.5"),
        (
            "sampling.subsample",
            "off",
            "expected a number above 0, at most 1, or null; found 'off'; write null",
        ),
        # true or false
        ("corpus.lowercase", "yes", "expected true or false; found 'yes'; write true"),
        ("corpus.lowercase", "Off", "expected true or false; found 'Off'; write false"),
        ("corpus.lowercase", "TRUE", "expected true or false; found 'TRUE'; write true"),
        ("corpus.lowercase", "1", "expected true or false; found 1"),
        ("corpus.lowercase", "null", "expected true or false; found null"),
        # one of several words
        (
            "train.optimizer",
            "Adma",
            "expected one of adam, sgd, adagrad; found 'Adma'; did you mean 'adam'?",
        ),
        ("train.device", "gpu", "expected one of auto, cpu, cuda, mps; found 'gpu'"),
        (
            "train.device",
            "cuda:0",
            "expected one of auto, cpu, cuda, mps; found 'cuda:0'; did you mean 'cuda'?",
        ),
        ("train.kernel", "warp", "expected one of auto, bmm, hogwild, triton; found 'warp'"),
        ("train.kernel", "5", "expected one of auto, bmm, hogwild, triton; found 5"),
        ("corpus.name", "null", "expected one of ptb, pydoc, text, encoded; found null"),
        ("model.freeze", "null", "expected one of none, pretrained, all; found null"),
        (
            "model.freeze",
            "None",
            "expected one of none, pretrained, all; found 'None'; did you mean 'none'?",
        ),
        ("model.init_from", "300", "expected text, or null; found 300; quote it: '300'"),
        ("model.max_norm", "0", "expected a number above 0, or null; found 0"),
        ("model.max_norm", "off", "expected a number above 0, or null; found 'off'; write null"),
        ("model.scale_grad_by_freq", "1", "expected true or false; found 1"),
        # text
        ("output.run", "2024", "expected text, or null; found 2024; quote it: '2024'"),
        ("output.run", "true", "expected text, or null; found true; quote it: 'true'"),
        ("output.run", "1e3", "expected text, or null; found 1e3; quote it: '1e3'"),
        ("output.run", "''", "expected text, or null; found ''"),
        ("output.run", "[a]", "expected text, or null; found a list"),
        ("corpus.sha256", "abc", "expected 64 hexadecimal digits, or null; found 'abc'"),
        (
            "corpus.sha256",
            f'"{HEX}\\n"',
            f"expected 64 hexadecimal digits, or null; found '{HEX[:57]}...'",
        ),
        ("corpus.path", "{a: b}", "expected text, or a list of texts, or null; found a mapping"),
        ("corpus.path", "[]", "expected text, or a list of texts, or null; found an empty list"),
        (
            "corpus.path",
            "5",
            "expected text, or a list of texts, or null; found 5; quote it: '5'",
        ),
        (
            "corpus.token_pattern",
            "'[a'",
            "is no regular expression: unterminated character set at position 0; found '[a'",
        ),
        (
            "corpus.token_pattern",
            "'a*'",
            "matches empty text, but a token has at least one character; found 'a*'",
        ),
        (
            "corpus.token_pattern",
            "''",
            "matches empty text, but a token has at least one character; found ''",
        ),
        ("corpus.token_pattern", "7", "expected text, or null; found 7; quote it: '7'"),
    ],
)
def test_wrong_values(key, written, complaint):
    section, name = key.split(".")
    assert refused(f"{section}:\n  {name}: {written}\n") == f"c.yaml:2:3: {key}: {complaint}"
    if "\\n" not in written:
        assert refused("{}", f"{key}={written}") == f"--set {key}={written}: {key}: {complaint}"


@pytest.mark.parametrize(
    ("item", "complaint"),
    [
        ("null", "expected text; found null; quote it: 'null'"),
        ("~", "expected text; found ~; quote it: '~'"),
        ("true", "expected text; found true; quote it: 'true'"),
        ("1987", "expected text; found 1987; quote it: '1987'"),
        ("1.50", "expected text; found 1.50; quote it: '1.50'"),
        ("''", "expected text; found ''"),
        ("[b]", "expected text; found a list"),
    ],
)
def test_wrong_items_of_a_list(item, complaint):
    message = refused(f"corpus: {{name: text, path: [a, {item}]}}")
    assert message == f"c.yaml:1:32: corpus.path[1]: {complaint}"


@pytest.mark.parametrize("pattern", ["(" * 5000 + ")" * 5000, "a{99999999999999999999}"])
def test_a_pattern_beyond_the_engine(pattern):
    message = refused(f"corpus: {{token_pattern: '{pattern}'}}")
    assert message.startswith("c.yaml:1:10: corpus.token_pattern: is no regular expression: ")


def test_a_dubious_pattern_does_not_warn():
    assert load("corpus: {token_pattern: '[[a]'}").corpus.token_pattern == "[[a]"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("train:\n  epohs: 3", "2:3: train.epohs: unknown setting; did you mean 'epochs'?"),
        (
            "vocab: {min_cuont: 3}",
            "1:9: vocab.min_cuont: unknown setting; did you mean 'min_count'?",
        ),
        ("train: {dim: 3}", "1:9: train.dim: unknown setting; did you mean 'model.dim'?"),
        ("train: {windw: 3}", "1:9: train.windw: unknown setting; did you mean 'sampling.window'?"),
        ("vocab: {zzz: 3}", "1:9: vocab.zzz: unknown setting; known: min_count, max_size"),
        ("vocab: {'': 3}", "1:9: vocab.: unknown setting; known: min_count, max_size"),
        ("trian: {lr: 3}", "1:1: trian: unknown section; did you mean 'train'?"),
        ("epochs: 3", "1:1: epochs: unknown section; did you mean 'train.epochs'?"),
        ("epohs: 3", "1:1: epohs: unknown section; did you mean 'train.epochs'?"),
        (
            "zzz: 3",
            "1:1: zzz: unknown section; "
            "known: corpus, vocab, sampling, model, train, distributed, output",
        ),
        (
            '"a\\nb\\e[31m": 3',
            "1:1: a\\nb\\x1b[31m: unknown section; "
            "known: corpus, vocab, sampling, model, train, distributed, output",
        ),
        ("train:", "1:1: train: expected a section of settings; found nothing"),
        ("train: null", "1:1: train: expected a section of settings; found null"),
        ("train: 5", "1:1: train: expected a section of settings; found 5"),
        ("train: [lr]", "1:1: train: expected a section of settings; found a list"),
        ("train: fast", "1:1: train: expected a section of settings; found 'fast'"),
        ("train:\n  lr: 1\n  lr: 2", "3:3: duplicate key 'lr'; first at line 2"),
    ],
)
def test_wrong_names_and_sections(text, complaint):
    assert refused(text) == f"c.yaml:{complaint}"


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("train.epohs=3", "train.epohs: unknown setting; did you mean 'epochs'?"),
        ("epochs=3", "epochs: unknown section; did you mean 'train.epochs'?"),
        ("trian.epochs=3", "trian: unknown section; did you mean 'train'?"),
        ("train=5", "train: expected a section of settings; found 5"),
        ("train=", "train: expected a section of settings; found nothing"),
        (
            "train.lr.x=1",
            "train.lr: expected a number above 0, at most 10; found a mapping",
        ),
        ("train={lr: ten}", "train.lr: expected a number above 0, at most 10; found 'ten'"),
    ],
)
def test_wrong_overrides(override, complaint):
    assert refused("train: {lr: 1}", override) == f"--set {override}: {complaint}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "train: {batch_size: 100}\nsampling: {block: 32, shared_negatives: 64}",
            "2:12: train.batch_size=100 is not a multiple of sampling.block=32",
        ),
        (
            "sampling: {block: 3, shared_negatives: 9}",
            "1:12: train.batch_size=512 is not a multiple of sampling.block=3",
        ),
        (
            "sampling: {block: 32}",
            "1:12: sampling.shared_negatives needs a number with sampling.block=32 (64, say)",
        ),
        (
            "train: {kernel: hogwild, optimizer: adam, batch_size: null}\n"
            "sampling: {block: 16, shared_negatives: 16}",
            "1:26: train.kernel=hogwild needs train.optimizer to be adagrad or sgd; found adam",
        ),
        (
            "train: {kernel: hogwild, optimizer: sgd}\nsampling: {block: 4, shared_negatives: 8}",
            "1:9: train.kernel=hogwild needs train.batch_size to be null: it updates after every "
            "few centers; found 512",
        ),
        (
            "train: {kernel: hogwild, optimizer: sgd, batch_size: null}",
            "1:9: train.kernel=hogwild needs sampling.shared_negatives to be a number (16, with "
            "sampling.block=16); found null",
        ),
        (
            "train: {kernel: hogwild, optimizer: sgd, batch_size: null, device: cuda}\n"
            "sampling: {shared_negatives: 5}",
            "1:60: train.kernel=hogwild needs train.device to be cpu; found cuda",
        ),
        (
            "train: {kernel: triton}\nsampling: {shared_negatives: 5}",
            "1:9: train.kernel=triton needs train.optimizer to be adagrad or sgd; found adam",
        ),
        (
            "train: {kernel: triton, optimizer: sgd}",
            "1:9: train.kernel=triton needs sampling.shared_negatives to be a number (16, with "
            "sampling.block=16); found null",
        ),
        (
            "train: {kernel: triton, optimizer: sgd, batch_size: 330}\n"
            "sampling: {block: 33, shared_negatives: 5}",
            "2:12: train.kernel=triton needs sampling.block to be at most 32; found 33",
        ),
        (
            "train: {kernel: triton, optimizer: sgd, device: mps}\nsampling: {shared_negatives: 5}",
            "1:41: train.kernel=triton needs train.device to be cuda; found mps",
        ),
        (
            "train: {kernel: hogwild, optimizer: sgd, batch_size: null}\n"
            "sampling: {shared_negatives: 5}\nmodel: {max_norm: 2.5}",
            "3:9: train.kernel=hogwild needs model.max_norm to be null; found 2.5",
        ),
        (
            "train: {kernel: hogwild, optimizer: sgd, batch_size: null}\n"
            "sampling: {shared_negatives: 5}\ndistributed: {merge: gradients}",
            "3:15: train.kernel=hogwild needs distributed.merge to be tables; found gradients",
        ),
        (
            "train: {kernel: triton, optimizer: sgd, batch_size: null}\n"
            "sampling: {shared_negatives: 5}\nmodel: {scale_grad_by_freq: true}",
            "3:9: train.kernel=triton needs model.scale_grad_by_freq to be false; found true",
        ),
        (
            "model: {freeze: pretrained}",
            "1:9: model.freeze=pretrained needs model.init_from: the vectors that are to stay",
        ),
        (
            "model: {freeze: all, init_from: null}",
            "1:22: model.freeze=all needs model.init_from: the vectors that are to stay",
        ),
        (
            "corpus: {name: ptb, heldout_every: 7}",
            "1:21: corpus.heldout_every must be null: ptb has a held-out text of its own",
        ),
        (
            "corpus: {name: text}",
            "1:10: corpus.name=text needs corpus.path: a file, a folder, a glob, or a list of them",
        ),
        (
            "corpus: {path: a}",
            "1:10: corpus.path needs corpus.name=text or encoded; found corpus.name=pydoc",
        ),
        (
            "corpus: {path: a, name: ptb}",
            "1:19: corpus.path needs corpus.name=text or encoded; found corpus.name=ptb",
        ),
        ("corpus: {url: 'x:y'}", "1:10: corpus.url needs corpus.name=ptb; found corpus.name=pydoc"),
        (
            f"corpus: {{sha256: {HEX}}}",
            "1:10: corpus.sha256 needs corpus.name=ptb; found corpus.name=pydoc",
        ),
    ],
)
def test_settings_that_disagree(text, complaint):
    assert refused(text) == f"c.yaml:{complaint}"


def test_a_disagreement_stands_where_it_began():
    text = "train: {batch_size: 64}\nsampling: {shared_negatives: 9}"
    message = refused(text, "sampling.block=3")
    both = "train.batch_size=64 is not a multiple of sampling.block=3"
    assert message == f"--set sampling.block=3: {both}"


@pytest.mark.parametrize(
    "text",
    [
        "train: {batch_size: ten}\nsampling: {block: 3, shared_negatives: 9}",
        "train: 5\nsampling: {block: 3, shared_negatives: 9}",
        "corpus: {name: text, path: [1]}",
    ],
)
def test_a_disagreement_that_follows_from_another_problem_is_not_named(text):
    assert "problems" not in refused(text)


def test_disagreements_are_refused_in_python_too():
    with pytest.raises(ValidationError, match=r"not a multiple of sampling\.block=3"):
        Config(sampling=SamplingSection(block=3, shared_negatives=9))
    with pytest.raises(ValidationError, match=r"corpus\.name=text needs corpus\.path"):
        Config(corpus=CorpusSection(name="text"))


@pytest.mark.parametrize("lr", [True, "0.1", float("nan"), float("inf"), 0, 11])
def test_sections_are_strict_in_python_too(lr):
    with pytest.raises(ValidationError):
        TrainSection(lr=lr)


def test_all_problems_at_once_sorted_by_place():
    message = refused(
        "train:\n  lr: 1e3\n  lr: 2\n  epohs: 5\ncorpus: {path: a}\nmodel:\nextra: 1\n",
        "vocab.min_count=ten",
        "train.seed=-1",
        train__device="gpu",
    )
    assert message.splitlines() == [
        "9 problems in c.yaml",
        "c.yaml:2:3: train.lr: expected a number above 0, at most 10; found 1e3",
        "c.yaml:3:3: duplicate key 'lr'; first at line 2",
        "c.yaml:4:3: train.epohs: unknown setting; did you mean 'epochs'?",
        "c.yaml:5:10: corpus.path needs corpus.name=text or encoded; found corpus.name=pydoc",
        "c.yaml:6:1: model: expected a section of settings; found nothing",
        "c.yaml:7:1: extra: unknown section; "
        "known: corpus, vocab, sampling, model, train, distributed, output",
        "--set vocab.min_count=ten: vocab.min_count: "
        "expected a whole number from 1 to 1000000000; found 'ten'",
        "--set train.seed=-1: train.seed: "
        "expected a whole number from 0 to 9223372036854775807; found -1",
        "--device gpu: train.device: expected one of auto, cpu, cuda, mps; found 'gpu'",
    ]


def test_problems_in_options_alone():
    message = refused("{}", "train.lr=0", "train.epochs=0")
    assert message.splitlines()[0] == "2 problems in the options"


def test_precedence_default_file_set_flag():
    text = "train: {device: cuda, epochs: 2, seed: 1}"
    config = load(text, "train.device=mps", "train.epochs=3", "train.epochs=4", train__device="cpu")
    assert config.train.device == "cpu"
    assert config.train.epochs == 4
    assert config.train.seed == 1
    assert config.train.batch_size == 512


def test_an_override_mends_the_file():
    assert load("train: {lr: 0, epochs: 2}", "train.lr=1e-3").train.lr == 0.001


def test_an_override_does_not_mend_an_empty_section():
    assert refused("train:", "train.lr=1").startswith("c.yaml:1:1: train: expected a section")


def test_flags_are_taken_as_they_are():
    config = load("{}", output__run=Path("2024"), train__device=None, train__lr=1)
    assert config.output.run == "2024"
    assert config.train.device == "auto"
    assert config.train.lr == 1.0


def test_files_are_found_by_path_then_among_the_shipped(tmp_path):
    shipped = tmp_path / "shipped"
    assert find_config("ptb.yaml") == (shipped / "ptb.yaml", "shipped, given by --config")
    Path("ptb.yaml").write_text("{}")
    assert find_config("ptb.yaml") == (Path("ptb.yaml"), "given by --config")
    inside = str(shipped / "ptb.yaml")
    assert find_config(inside) == (Path(inside), "given by --config")


def test_without_a_name_the_local_file_comes_before_the_quickstart(tmp_path):
    default = "shipped; no --config, and no w2v.yaml here"
    assert find_config(None) == (tmp_path / "shipped/quickstart.yaml", default)
    assert load_config(None).config.train.epochs == 2
    Path("w2v.yaml").write_text("train: {epochs: 7}")
    assert find_config(None) == (Path("w2v.yaml"), "found in the current folder")
    assert load_config(None).config.train.epochs == 7


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pbt.yaml", "no config file 'pbt.yaml'; did you mean 'ptb.yaml'?"),
        ("ptb", "no config file 'ptb'; did you mean 'ptb.yaml'?"),
        ("mien.yaml", "no config file 'mien.yaml'; did you mean 'mine.yaml'?"),
        ("zzz", "no config file 'zzz'"),
        ("sub/ptb.yaml", "no config file 'sub/ptb.yaml'"),
        ("./ptb.yaml", "no config file './ptb.yaml'"),
        ("sub/oter.yaml", "no config file 'sub/oter.yaml'; did you mean 'sub/other.yaml'?"),
        ("mine.yaml/x", "no config file 'mine.yaml/x'"),
    ],
)
def test_missing_files(name, message):
    Path("mine.yaml").touch()
    Path("sub").mkdir()
    Path("sub/other.yaml").touch()
    with pytest.raises(ConfigError) as caught:
        load_config(name)
    assert str(caught.value) == message
    assert caught.value.hint == "shipped with w2v: ptb.yaml, quickstart.yaml"


@pytest.mark.parametrize("name", ["", ".", "a\0b", "x" * 5000])
def test_names_that_no_file_can_have(name):
    with pytest.raises(ConfigError, match=r"found a folder|cannot be read"):
        load_config(name)


def test_the_shipped_folder_is_the_package_s_or_the_one_beside_it(tmp_path, monkeypatch):
    package = tmp_path / "site" / "w2v"
    monkeypatch.setattr(module, "__file__", str(package / "config.py"))
    assert shipped_folder() == tmp_path / "site" / "configs"
    (package / "configs").mkdir(parents=True)
    assert shipped_folder() == package / "configs"


def test_dump_is_stable_and_readable():
    config = Config(
        corpus=CorpusSection(name="text", path=["/a/b.txt", "no", "null", "*.gz", "1e-3", "é d"]),
        sampling=SamplingSection(subsample=1e-5),
    )
    lines = dump_yaml(config).splitlines()
    assert lines[:6] == [
        "corpus:",
        "  name: text",
        '  path: [/a/b.txt, no, "null", "*.gz", "1e-3", "é d"]',
        "  url: null",
        "  sha256: null",
        "  lowercase: false",
    ]
    assert "  subsample: 1.0e-05" in lines
    assert "  checkpoint_every_s: 60.0" in lines


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
AWKWARD = ["no", "null", "true", "~", "1e-3", "017", "12:30", "<<", "a: b", "# x", " a ", "-"]
WORD = TEXT | st.sampled_from(AWKWARD)


def values_of(section: str, key: str) -> st.SearchStrategy:
    """Values that a setting allows, made from its JSON Schema."""
    schema = SECTIONS[section].model_json_schema()["properties"][key]
    choices = [st.nothing()]
    for choice in schema.get("anyOf", [schema]):
        low, high = choice.get("minimum"), choice.get("maximum")
        match choice:
            case {"enum": words}:
                choices.append(st.sampled_from(words))
            case {"const": word}:
                choices.append(st.just(word))
            case {"type": "integer"}:
                choices.append(st.integers(low, high))
            case {"type": "number"}:
                above = choice.get("exclusiveMinimum")
                low = above if low is None else low
                excluded = above is not None
                choices.append(
                    st.floats(
                        low, high, exclude_min=excluded, allow_nan=False, allow_infinity=False
                    )
                )
            case {"type": "boolean"}:
                choices.append(st.booleans())
            case {"type": "null"}:
                choices.append(st.none())
            case {"pattern": _}:
                choices.append(st.just(HEX))
            case {"type": "array"}:
                choices.append(st.lists(WORD, min_size=1, max_size=4))
            case _:
                is_pattern = key == "token_pattern"
                choices.append(st.sampled_from([r"\w+", "[^ '\"]+"]) if is_pattern else WORD)
    return st.one_of(choices)


CONFIGS = st.fixed_dictionaries(
    {
        section: st.fixed_dictionaries(
            {key: values_of(section, key) for name, key in SETTINGS if name == section}
        )
        for section in SECTIONS
    }
)


def agreeing(values: dict) -> dict:
    """The same values with the settings that may disagree made to agree."""
    corpus, block = values["corpus"], values["sampling"]["block"]
    values["sampling"]["shared_negatives"] = 9 if block > 1 else None
    if corpus["name"] not in ("text", "encoded"):
        corpus["path"] = None
    elif corpus["path"] is None or corpus["name"] == "encoded":
        corpus["path"] = "a"
    if corpus["name"] != "ptb":
        corpus["url"] = corpus["sha256"] = None
    else:
        corpus["heldout_every"] = None
    if values["model"]["init_from"] is None:
        values["model"]["freeze"] = "none"
    kernel = values["train"]["kernel"]
    values["train"]["batch_size"] = None if kernel == "hogwild" else block * 3
    if kernel in IN_PLACE:
        values["train"] |= {"optimizer": "sgd", "device": IN_PLACE[kernel]}
        values["model"] |= {"max_norm": None, "scale_grad_by_freq": False}
        values["sampling"]["shared_negatives"] = 9
        values["distributed"]["merge"] = "tables"
    if kernel == "triton":
        values["sampling"]["block"] = min(block, 32)
        values["train"]["batch_size"] = None
    return values


@settings(deadline=None)
@given(CONFIGS.map(agreeing))
def test_dump_then_load_is_identity(tmp_path_factory, values):
    config = Config.model_validate(values)
    text = dump_yaml(config)
    assume(len(text.encode()) < 65536)
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    assert load_config(str(path)).config == config
    assert dump_yaml(load_config(str(path)).config) == text


def test_the_schema_is_json_and_strict():
    schema = json.loads(json.dumps(json_schema()))
    assert schema["additionalProperties"] is False
    assert list(schema["properties"]) == list(SECTIONS)
    train = schema["$defs"]["TrainSection"]
    assert train["additionalProperties"] is False
    assert train["properties"]["lr"]["exclusiveMinimum"] == 0
    assert train["properties"]["lr"]["default"] == 0.002


def test_optional_settings_are_those_that_take_null():
    for section, key in SETTINGS:
        annotation = SECTIONS[section].model_fields[key].annotation
        takes_null = annotation in (None, NoneType) or NoneType in get_args(annotation)
        override = f"{section}.{key}=null"
        if takes_null:
            load("{}", override)
        else:
            assert "found null" in refused("{}", override)


@pytest.mark.parametrize(
    "text",
    [
        "train:\n" + "".join(f"  k{i}: 1\n" for i in range(6000)),
        "corpus: {name: text, path: [" + "1," * 32000 + "]}",
        "".join(f"k{i}: 1\n" for i in range(6000)),
    ],
    ids=["settings", "items", "sections"],
)
def test_a_file_full_of_problems_is_answered_soon(text):
    started_at = time.perf_counter()
    message = refused(text)
    assert len(message.splitlines()) == 52
    assert time.perf_counter() - started_at < 5


def test_the_config_is_light_to_import():
    heavy = "{'torch', 'numpy', 'polars', 'numba', 'typer'}"
    code = f"import sys, w2v.config; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def run(*args: str):
    return CliRunner().invoke(config_app, args, catch_exceptions=False)


def test_show_prints_what_loads_back(caplog):
    caplog.set_level("INFO")
    Path("c.yaml").write_text("train: {lr: 1e-3}\n")
    done = run("show", "-c", "c.yaml", "-s", "train.seed=3")
    assert done.exit_code == 0
    assert caplog.messages == ["config c.yaml: given by --config"]
    assert load(done.stdout) == Config(train=TrainSection(lr=0.001, seed=3))


def test_show_origin():
    Path("c.yaml").write_text("vocab: {min_count: 2}\ntrain:\n  lr: 1e-3\n")
    done = run("show", "-c", "c.yaml", "-s", "train.seed=3", "--origin")
    lines = done.stdout.splitlines()
    assert "  min_count: 2                    # c.yaml:1:9" in lines
    assert "  lr: 0.001                       # c.yaml:3:3" in lines
    assert "  seed: 3                         # --set train.seed=3" in lines
    assert "  max_size: null                  # default" in lines
    assert all("  # " in line or line.endswith(":") for line in lines)
    assert load(done.stdout) == load_config("c.yaml", ["train.seed=3"]).config


def test_check_says_ok_and_prints_nothing(caplog):
    caplog.set_level("INFO")
    Path("c.yaml").write_text("train: {lr: 1e-3}\n")
    done = run("check", "--config", "c.yaml")
    assert (done.exit_code, done.stdout, caplog.messages) == (0, "", ["c.yaml: ok"])


def test_check_refuses():
    Path("c.yaml").write_text("train: {lr: 0}\n")
    with pytest.raises(ConfigError, match=r"^c\.yaml:1:9: train\.lr: expected a number"):
        run("check", "--config", "c.yaml")


def test_schema_is_printed():
    done = run("schema")
    assert json.loads(done.stdout) == json_schema()
    with pytest.raises(ConfigError, match=r"train\.lr"):
        run("schema", "--set", "train.lr=0")

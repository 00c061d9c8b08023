"""The estimate of time: a clock that is made up, and a real training that it foretells."""

from types import SimpleNamespace

import pytest
import torch
from conftest import TINY_SETTINGS, planted_text

from w2v import pace, training
from w2v.configfile import load_config
from w2v.devices import cpu_threads
from w2v.kernels.interface import Step, Tally
from w2v.survey import survey

TALLY = Tally(torch.tensor(0.5), torch.tensor(1))


@pytest.fixture
def surveyed(tmp_path, monkeypatch):
    """A text of 27,000 words, and the settings to train on it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(planted_text(lines=3000, seed=0))
    (tmp_path / "empty.yaml").write_text("train: {seed: 0}\n")
    settings = (*TINY_SETTINGS, "corpus.path=text.txt", "train.threads=1", "train.batch_size=512")
    config = load_config("empty.yaml", settings).config
    return survey(config, data_folder=tmp_path / "data"), config


def rate(found, config, **changes):
    return pace.words_per_s(
        found.corpus,
        model=config.model,
        sampling=config.sampling,
        train=config.train,
        kernel=found.kernel.kernel._replace(**changes),
        device=found.device.device,
    )


@pytest.mark.parametrize("words_per_s", [1e3, 1e5, 1e9])
def test_the_rate_is_that_of_the_kernel(surveyed, monkeypatch, words_per_s):
    clock = SimpleNamespace(now=0.0, lengths=[])

    def prepare(*_, **__):
        def train_span(text, **__):
            clock.lengths.append(len(text.ids_N))
            clock.now += 7.0 * (len(clock.lengths) == 1)  # what happens once is not counted
            for done in range(1, 101):
                clock.now += len(text.ids_N) / words_per_s / 100
                yield Step(TALLY, done / 100)

        return train_span

    monkeypatch.setattr(pace.time, "perf_counter", lambda: clock.now)
    assert rate(*surveyed, prepare=prepare) == pytest.approx(words_per_s)
    enough = clock.lengths[-1] / words_per_s >= pace.ENOUGH_S
    assert enough or clock.lengths[-1] == len(surveyed[0].corpus.train.ids_N)
    assert clock.now < 7 + 2 * pace.MOST_S + pace.FIRST_WORDS / words_per_s


def test_a_training_takes_about_as_long(surveyed, tmp_path):
    found, config = surveyed
    run = training.prepare_run(config, tmp_path / "run", data_folder=tmp_path / "data", force=False)
    took_s = training.execute(run).read_info()["train_s"]
    with cpu_threads(1):
        foretold_s = config.train.epochs * len(found.corpus.train.ids_N) / rate(found, config)
    assert took_s / 6 < foretold_s < took_s * 6  # the machine may be busy with other tests

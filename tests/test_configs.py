import pytest
import torch

from w2v.configfile import load_config, shipped_folder
from w2v.kernels import choice

SHIPPED = sorted(path.name for path in shipped_folder().glob("*.yaml"))


def test_four_configs_are_shipped():
    assert SHIPPED == ["ptb-d2l.yaml", "ptb.yaml", "quickstart.yaml", "text.yaml"]


@pytest.mark.parametrize("name", SHIPPED)
def test_each_loads_from_any_folder_and_opens_with_its_command(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = load_config(name)
    assert loaded.path == shipped_folder() / name
    head = loaded.path.read_text().split("\n\n")[0].split("corpus:")[0]
    assert f"w2v train --config {name}" in head
    assert "Measured" in head  # expected time and score


def test_the_chapters_config_is_the_chapter():
    config = load_config("ptb-d2l.yaml").config
    assert config.corpus.name == "ptb"
    assert config.vocab.min_count == 10
    assert config.model.dim == 100
    assert config.model.init == "xavier"
    sampling, train = config.sampling, config.train
    assert (sampling.window, sampling.negatives, sampling.noise_power) == (5, 5, 0.75)
    assert (sampling.subsample, sampling.subsample_formula) == (1e-4, "paper")
    assert (sampling.block, sampling.avoid_contexts) == (1, True)
    assert sampling.redraw is False
    assert (train.kernel, train.epochs, train.batch_size) == ("bmm", 5, 512)
    assert (train.optimizer, train.lr, train.lr_schedule) == ("adam", 0.002, "constant")
    assert train.objective == "center_mean"


def test_ptb_trains_through_bmm():
    assert load_config("ptb.yaml").config.train.kernel == "bmm"


@pytest.mark.parametrize("name", ["quickstart.yaml", "text.yaml"])
def test_the_others_take_the_fastest_kernel_of_the_device(name, monkeypatch):
    monkeypatch.setattr(choice, "missing_for_triton", lambda _: None)
    config = load_config(name, [] if name != "text.yaml" else ["corpus.path=a"]).config
    for device, kernel in (("cpu", "hogwild"), ("cuda", "triton")):
        chosen = choice.choose_kernel(config.train, config.sampling, torch.device(device))
        assert chosen.name == kernel

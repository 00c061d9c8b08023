import numpy as np
import pytest
import torch
from test_bmm import two_topics
from test_hogwild import EIGHTS

from w2v import loop
from w2v.config import Config
from w2v.corpus import Corpus
from w2v.draws import Streams, make_sampler
from w2v.kernels import hogwild
from w2v.kernels.pieces import piece_words
from w2v.kernels.tiles import LANES
from w2v.learner import make_learner
from w2v.model import SkipGram
from w2v.optimizers import make_optimizer
from w2v.sentences import Sentences
from w2v.vocab import Vocab, WordCounts

# All runs have the sizes of EIGHTS, so that two loops are compiled for them, not twenty.
SAMPLING = {
    "window": EIGHTS.window, "block": EIGHTS.block, "negatives": EIGHTS.negatives,
    "shared_negatives": EIGHTS.shared_negatives, "subsample": None,
}  # fmt: skip
RATES = {"sgd": 0.02, "adagrad": 0.1}
PIECE = piece_words(EIGHTS.shared_negatives)


def corpus_of(*lengths, num_words=9):
    offsets_S = np.cumsum([0, *lengths])
    ids_N = (np.random.default_rng(0).integers(0, num_words, offsets_S[-1]) + 1).astype(np.int32)
    vocab = Vocab(("<unk>", *"abcdefghi"[:num_words]), np.array([0, *[100] * num_words]))
    nothing = WordCounts((), np.zeros(0, np.int64))
    none = Sentences(np.zeros(0, np.int32), np.zeros(1, np.int64))
    return Corpus(
        vocab, nothing, Sentences(ids_N, offsets_S), none, "digest", np.zeros((0, 2), np.int64)
    )


def config_of(*, sampling=None, **train):
    fixed = {"kernel": "hogwild", "batch_size": None, "optimizer": "sgd", "objective": "pair_sum"}
    return Config(
        sampling=SAMPLING | (sampling or {}),
        model={"dim": EIGHTS.dim},
        train=fixed | {"epochs": 2, "lr": 0.02} | train,
    )


def learner_of(config, corpus, *, span_words=hogwild.SPAN_WORDS):
    return make_learner(
        corpus,
        model=config.model,
        sampling=config.sampling,
        train=config.train,
        kernel=hogwild.KERNEL._replace(span_words=span_words),
        device=torch.device("cpu"),
    )


def train_all(config, corpus, **options):
    """The learner, and the report at the end of each epoch."""
    learner = learner_of(config, corpus, **options)
    reports = list(loop.reports(learner, corpus, config.train))
    return learner, [report for report in reports if report.epoch_ended]


def prepared(optimizer="sgd", *, model=None, num_words=10, **sampling):
    """What `prepare` gets; `sampling` replaces settings of the sampler."""
    sizes = SAMPLING | {"noise_power": 0.75, "subsample_formula": "paper"}
    sizes |= {"avoid_contexts": True, "redraw": True} | sampling
    counts_V = np.array([0] + [400] * num_words)
    sampler = make_sampler(counts_V, **sizes, device=torch.device("cpu"))
    model = model or SkipGram(
        num_words + 1, EIGHTS.dim, init="xavier", generator=seeded(0), row_multiple=LANES
    )
    return model, sampler, make_optimizer(optimizer, model)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def streams(seed):
    return Streams(seeded(seed), seeded(seed))


# --- training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_it_finds_planted_neighbors(optimizer, num_threads, threads):
    threads(num_threads)
    num_words, lr, losses = 8 * 8192, RATES[optimizer], []
    model, sampler, updates = prepared(optimizer)
    train_span = hogwild.prepare(
        model, sampler, updates, batch_size=None, objective="pair_sum", lr=0.1
    )
    text = two_topics(num_words)
    for epoch in range(3):
        sums = np.zeros(2)
        for step in train_span(text, lr=(lr, lr), streams=streams(epoch)):
            sums += step.tally.loss_sum.item(), step.tally.centers.item()
        assert step.done == 1.0
        assert sums[1] == num_words
        losses.append(sums[0] / sums[1])
    assert max(losses) < 0.5  # ln 2 = 0.69 for a model that knows nothing
    unit_VD = torch.nn.functional.normalize(model.center.weight.detach()[1:], dim=1)
    similar_VV = unit_VD @ unit_VD.T
    within = (similar_VV[:5, :5].sum() - 5) / 20
    between = similar_VV[:5, 5:].mean()
    assert within > between + 0.5
    assert not model.center.weight[0].any()
    assert not model.context.weight[0].any()


def test_one_thread_gives_the_same_bytes_for_the_same_seed(threads):
    threads(1)
    corpus = corpus_of(*[50] * 1000)
    assert len(corpus.train.ids_N) > 3 * PIECE
    tables = []
    for seed in (1, 1, 2):
        learner, _ = train_all(config_of(seed=seed), corpus)
        tables.append([table.clone() for table in learner.tensors().values()])
    assert all(map(torch.equal, tables[0], tables[1]))
    assert not torch.equal(tables[0][0], tables[2][0])


@pytest.mark.parametrize("redraw", [True, False])
def test_only_what_is_redrawn_changes_from_epoch_to_epoch(redraw, threads):
    threads(2)
    config = config_of(epochs=4, sampling={"subsample": 0.01, "redraw": redraw})
    _, ends = train_all(config, corpus_of(*[50] * 1000), span_words=20_000)
    centers = {report.centers for report in ends}
    assert all(14_000 < number < 16_000 for number in centers)  # sqrt(.01 * 9) of 50,000
    assert (len(centers) == 1) is not redraw


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_any_number_of_threads_trains_the_same_centers(optimizer, threads):
    corpus = corpus_of(*[7] * 20_000, *[0, 1, 2, 3] * 100)
    config = config_of(
        sampling={"subsample": 0.03}, epochs=1, optimizer=optimizer, lr=RATES[optimizer]
    )
    found = []
    for num_threads in (1, 2, 5):
        threads(num_threads)
        learner, ((end,)) = train_all(config, corpus)
        assert all(table.isfinite().all() for table in learner.tensors().values())
        found.append((end.centers, end.words, end.done, end.step))
        assert 0 < end.loss < 0.7
    assert found[0] == found[1] == found[2]


def test_steps_come_piece_by_piece_and_the_rate_falls_with_them(threads, monkeypatch):
    threads(1)
    rates = []

    class Spy(hogwild.Hogwild):
        def train_piece(self, span, piece, worker, **options):
            rates.append((piece.start, piece.lr))
            return super().train_piece(span, piece, worker, **options)

    monkeypatch.setattr(hogwild, "Hogwild", Spy)
    train_span = hogwild.prepare(*prepared(), batch_size=None, objective="pair_sum", lr=0.1)
    text = two_topics(4 * PIECE)
    steps = list(train_span(text, lr=(1e-3, 5e-4), streams=streams(0)))
    assert [step.done for step in steps] == [0.25, 0.5, 0.75, 1.0]
    assert sum(step.tally.centers.item() for step in steps) == 4 * PIECE
    starts, lrs = zip(*rates[1:], strict=True)  # the first is the empty piece that compiles
    assert starts == (0, PIECE, 2 * PIECE, 3 * PIECE)
    assert lrs == pytest.approx([1e-3, 8.75e-4, 7.5e-4, 6.25e-4])


def test_a_vocabulary_of_two_words(threads):
    threads(2)
    learner, ends = train_all(config_of(), corpus_of(*[9] * 4000, num_words=2))
    assert [report.centers for report in ends] == [36_000, 36_000]
    assert learner.model.center.weight.isfinite().all()
    assert not learner.model.center.weight[0].any()


@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_sentence_longer_than_any_buffer(num_threads, threads):
    threads(num_threads)
    _, ends = train_all(config_of(), corpus_of(100_000), span_words=70_000)
    assert [report.centers for report in ends] == [100_000, 100_000]

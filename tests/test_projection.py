import numpy as np
import pytest
from sklearn.decomposition import PCA

from w2v import projection
from w2v.errors import ConfigError
from w2v.projection import FEW_ROWS, pca, project


def unit(rows):
    return rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))


@pytest.fixture
def rows(request):
    return unit(np.random.default_rng(0).normal(size=(60, 8)) * np.arange(8, 0, -1))


def test_components_by_hand():
    # Centered: (-3, 0), (3, 0), (0, 1), (0, -1): 18 of the 20 squares lie along x, 2 along y.
    xy, share = pca(np.array([[1.0, 7], [7, 7], [4, 8], [4, 6]]))
    assert share == pytest.approx((0.9, 0.1))
    # Of both components the first of the two largest entries is positive.
    assert xy == pytest.approx(np.array([[3.0, 0], [-3, 0], [0, 1], [0, -1]]), abs=1e-12)


def test_components_are_those_of_scikit_learn(rows):
    xy, share = pca(rows)
    other = PCA(2, svd_solver="full").fit(rows)
    assert share == pytest.approx(other.explained_variance_ratio_)
    assert np.abs(xy) == pytest.approx(np.abs(other.transform(rows)), abs=1e-10)


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (3, 1), (1, 1), (5, 2)])
def test_few_rows_and_dimensions_have_places_too(shape):
    xy, share = pca(np.ones(shape) if shape[0] == 1 else np.eye(*shape))
    assert xy.shape == (shape[0], 2)
    assert np.isfinite(xy).all()
    assert sum(share) == pytest.approx(1.0 if shape[0] > 1 else 0.0)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_equal_rows_have_equal_places(method):
    assert project(np.ones((20, 4)) / 2, method).xy_N2 == pytest.approx(np.zeros((20, 2)), abs=1e-9)


def test_tsne_keeps_groups_apart_and_is_the_same_every_time(rows):
    centers = np.repeat(np.eye(8)[:3] * 4, 20, axis=0)
    grouped = unit(rows + centers)
    first, again = project(grouped, "tsne"), project(grouped, "tsne")
    assert (first.xy_N2 == again.xy_N2).all()
    groups = first.xy_N2.reshape(3, 20, 2)
    middles = groups.mean(axis=1)
    farthest = np.sqrt(((groups - middles[:, None]) ** 2).sum(-1)).max()
    apart = np.sqrt(((middles[:, None] - middles) ** 2).sum(-1))[np.triu_indices(3, 1)]
    assert apart.min() > 2 * farthest


def test_the_default_is_tsne_where_it_is_there_and_better(rows, monkeypatch):
    found = project(rows)
    assert (found.method, found.reason[:4]) == ("tsne", "it k")
    few = project(rows[:FEW_ROWS])
    assert (few.method, few.reason[:10]) == ("pca", "for so few")
    monkeypatch.setattr(projection, "has_package", lambda package: package != "sklearn")
    without = project(rows)
    assert without.method == "pca"
    assert "pip install 'w2v[plot]'" in without.reason
    assert (without.xy_N2 == project(rows, "pca").xy_N2).all()


def test_tsne_that_cannot_be(rows, monkeypatch):
    with pytest.raises(ConfigError, match="wants 4 words or more, got 3"):
        project(rows[:3], "tsne")
    assert project(rows[:4], "tsne").method == "tsne"
    monkeypatch.setattr("w2v.extras.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="package sklearn is not installed") as caught:
        project(rows, "tsne")
    assert caught.value.hint == "pip install 'w2v[plot]'"

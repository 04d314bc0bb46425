"""Geodesics, triangle defects, controls and planted spaces whose curvature is known; metrics."""

import numpy as np
import pytest
from scipy.sparse.csgraph import shortest_path

from interp.curvature import excess, planted
from interp.curvature.graph import distinct, euclidean, geodesics, principal_components
from interp.curvature.inner_products import (
    InnerProducts,
    final_gain,
    lengths,
    projections,
    unembedding_covariance,
    whitening,
)
from interp.curvature.nulls import haar_orthogonal, off_ones, permuted, rotated
from interp.curvature.planted import gram
from interp.curvature.triangle import triangle_defect
from interp.errors import ActivationError

N = 400


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sphere_distances(n: int, rng: np.random.Generator) -> np.ndarray:
    points = rng.standard_normal((n, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    distances = np.arccos(np.clip(points @ points.T, -1, 1))
    np.fill_diagonal(distances, 0)
    return distances


def hyperbolic_disc(n: int, radius: float, rng: np.random.Generator) -> np.ndarray:
    length = np.arccosh(1 + rng.random(n) * (np.cosh(radius) - 1))
    angle = rng.random(n) * 2 * np.pi
    return length[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def tree_distances(n: int) -> np.ndarray:
    distances = np.zeros((n, n))
    for child in range(1, n):
        distances[child, :child] = distances[(child - 1) // 2, :child] + 1
        distances[:child, child] = distances[child, :child]
    return distances


def reference_metric(space: str) -> np.ndarray:
    rng = generator(1)
    return {
        "flat": lambda: euclidean(rng.random((N, 2))),
        "sphere": lambda: sphere_distances(N, rng),
        "hyperbolic": lambda: planted.hyperbolic_distances(hyperbolic_disc(N, 3, rng), 1.0),
        "tree": lambda: tree_distances(N),
    }[space]()


def test_gram_recovers_inner_products():
    points = generator().standard_normal((20, 3))
    centred = points - points.mean(axis=0)
    assert np.allclose(gram(euclidean(points)), centred @ centred.T)
    assert np.allclose(euclidean(principal_components(points, 20)), euclidean(points))


def test_hyperbolic_surface_is_euclidean_embedded_and_locally_isometric():
    positions = 0.02 * generator().standard_normal((30, 3)) + np.array([2.0, 0, 0])
    distances = planted.hyperbolic_distances(positions, 1.0)
    chords = euclidean(planted.on_hyperbolic(positions, 1.0))
    off = ~np.eye(30, dtype=bool)
    assert np.allclose(chords[off] / distances[off], 1, atol=5e-3)
    far = planted.hyperbolic_distances(3 * generator().standard_normal((60, 2)), 1.0)
    values = np.linalg.eigvalsh(gram(np.sqrt(2 * np.log(np.cosh(far)))))
    assert values.min() > -1e-9 * values.max()


def test_sphere_positions_keep_their_distance_from_the_pole():
    positions = generator().standard_normal((50, 2))
    points = planted.on_sphere(positions, 2.0)
    centre = np.array([0, 0, 2.0])
    assert np.allclose(np.linalg.norm(points - centre, axis=1), 2)
    angle = np.arccos(1 - points[:, 2] / 2)
    assert np.allclose(2 * angle, np.linalg.norm(positions, axis=1))


def test_haar_matrices_are_orthogonal_and_fix_the_ones():
    q = haar_orthogonal(9, generator())
    assert np.allclose(q @ q.T, np.eye(9))
    basis = off_ones(9)
    assert np.allclose(basis.T @ basis, np.eye(8))
    assert np.allclose(np.ones(9) @ basis, 0)
    means = np.mean([haar_orthogonal(4, generator(s)) for s in range(400)], axis=0)
    assert np.abs(means).max() < 0.12  # without the signs the diagonal would be negative


def test_rotation_null_keeps_mean_and_covariance():
    states = generator().exponential(size=(40, 70)) + 3
    null = rotated(states, generator(1))
    assert np.allclose(null.mean(axis=0), states.mean(axis=0))
    assert np.allclose(np.cov(null.T), np.cov(states.T))
    assert not np.allclose(null, states)


def test_constant_states_are_no_manifold_and_repeats_are_dropped():
    constant = np.ones((20, 5)) + 1e-9 * generator().standard_normal((20, 5))
    assert distinct(constant) is None
    states = generator().standard_normal((20, 5))
    kept = distinct(np.concatenate([states, states[:4]]))
    assert kept is not None and len(kept) == 20


def test_inner_products_measure_in_every_metric():
    rng = generator()
    classes = [rng.standard_normal((50, 3)) + 1, rng.standard_normal((50, 3))]
    found = InnerProducts.learn(classes, 4 * np.eye(3))
    assert found.difference == pytest.approx(classes[0].mean(axis=0) - classes[1].mean(axis=0))
    plain, _, causal = found.lengths(classes[0])
    assert plain == pytest.approx(np.linalg.norm(classes[0], axis=1))
    assert causal == pytest.approx(2 * plain)
    plain, whitened, causal = found.projections(classes[0])
    assert causal == pytest.approx(4 * plain)
    assert whitened == pytest.approx(classes[0] @ whitening(classes) @ found.difference)


def test_final_gain_is_the_norm_weight_of_every_family(tiny_models):
    for name, model in tiny_models.items():
        model_norm = model.hf.base_model
        norm = getattr(model_norm, "norm", None) or model_norm.ln_f
        weight = norm.weight.detach().double().numpy().astype(float)
        expected = weight + 1 if name == "gemma3" else weight
        gain = final_gain(model)
        assert np.allclose(gain / gain.mean(), expected / expected.mean(), atol=0.05), name


def test_unembedding_covariance_weighs_the_output(tiny_model):
    head = tiny_model.head.detach().double().numpy() * final_gain(tiny_model)
    expected = np.cov(head.T, bias=True)
    assert np.allclose(unembedding_covariance(tiny_model), expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    ("space", "defect"),
    [("flat", -0.003), ("sphere", 0.097), ("hyperbolic", -0.119), ("tree", -0.27)],
)
def test_triangle_defects_of_known_spaces(space, defect):
    found = triangle_defect(reference_metric(space), generator())
    assert found == pytest.approx(defect, abs=0.045)


def test_geodesics_follow_the_sample():
    angle = np.linspace(0, np.pi, 60)
    direct = euclidean(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    along = geodesics(direct, 2)
    assert along[0, -1] == pytest.approx(np.pi, rel=1e-3)
    assert (along >= direct - 1e-12).all()
    assert np.allclose(shortest_path(along, directed=False), along)


def test_clusters_are_bridged_where_the_gap_is_narrowest():
    points = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    along = geodesics(euclidean(points), 1)
    assert np.isfinite(along).all()
    assert along[0, 5] == pytest.approx(12)


def test_bad_graphs_are_refused():
    with pytest.raises(ActivationError, match="distinct"):
        geodesics(euclidean(np.zeros((5, 2))), 2)
    with pytest.raises(ActivationError, match="neighbours"):
        geodesics(euclidean(generator().random((5, 2))), 5)


def test_permuted_keeps_the_components_and_nothing_that_joins_them():
    states = generator().uniform(-1, 1, (300, 3)) * [4.0, 2.0, 1.0] + 7
    scores = [
        np.sort(principal_components(x, 3), axis=0)
        for x in (states, permuted(states, generator(1)))
    ]
    assert np.allclose(scores[0].std(axis=0), scores[1].std(axis=0), rtol=0.01)
    circle = principal_components(planted.on_sphere(generator().standard_normal((300, 2)), 0.4), 3)
    control = permuted(circle, generator(1))
    assert np.allclose(np.sort(np.abs(circle), axis=0), np.sort(np.abs(control), axis=0))
    assert np.ptp(np.linalg.norm(control, axis=1)) > np.ptp(np.linalg.norm(circle, axis=1))


def test_flat_controls_keep_the_mean_and_covariance_of_every_cluster():
    rng = generator()
    states = rng.standard_normal((90, 4)) + 20 * np.eye(4)[rng.integers(0, 3, 90)]
    labels = excess.separate_clusters(states)
    assert len(set(labels)) == 3
    for kind in excess.CONTROLS:
        control = excess.flat_control(states, labels, kind, rng)
        for label in range(3):
            ours, other = states[labels == label], control[labels == label]
            assert np.allclose(ours.mean(0), other.mean(0))
            assert np.allclose(np.trace(np.cov(ours.T)), np.trace(np.cov(other.T)))
            assert (kind == "permuted") or np.allclose(np.cov(ours.T), np.cov(other.T))
    assert not excess.separate_clusters(rng.standard_normal((90, 4))).any()


DRAWS = excess.Draws(12, {"sphere": 0.67, "hyperbolic": 0.25}, 4, 2)


def halves(n: int, draws: int = 10) -> np.ndarray:
    return np.stack([generator(i).choice(n, n // 2, replace=False) for i in range(draws)])


def test_too_few_states_are_refused():
    with pytest.raises(ActivationError, match="too few"):
        excess.readings(generator().standard_normal((15, 4)), halves(15), DRAWS, generator())


def test_readings_are_reproducible_and_complete():
    states = generator().standard_normal((30, 4))
    first, second = (excess.readings(states, halves(30, 3), DRAWS, generator(1)) for _ in range(2))
    assert first == second
    counts = {"data": 1, "halves": 3, "rotated": 4, "permuted": 4, "sphere": 2, "hyperbolic": 2}
    assert {kind: len(found) for kind, found in first.items()} == counts


@pytest.mark.parametrize(("shape", "sign"), [("flat", 0), ("sphere", 1), ("hyperbolic", -1)])
def test_excess_has_the_sign_of_the_curvature(shape, sign):
    flat = generator().standard_normal((120, 2))
    bent = flat if sign == 0 else planted.bend(flat, shape, 2, 0.4)
    found = excess.readings(principal_components(bent, 8), halves(120), DRAWS, generator(1))
    value, error = excess.excess(found), excess.standard_error(found)
    assert abs(value) < 0.02 if sign == 0 else sign * value - 2 * error > 0.02
    if sign == 0:  # planted by the same path
        assert np.mean(found["sphere"]) > 0.04 and np.mean(found["hyperbolic"]) < -0.04


def test_excess_is_the_distance_from_the_span_of_both_controls():
    found = {"rotated": [0.0, 0.02], "permuted": [0.04, 0.06]}
    cases = ((0.08, 0.03), (0.03, 0.0), (-0.02, -0.03))
    for data, distance in cases:
        assert excess.excess(found | {"data": [data]}) == pytest.approx(distance)


def test_whitening_undoes_the_within_class_covariance():
    rng, scale = generator(), np.array([10.0, 1.0, 0.1])
    first = rng.standard_normal((4000, 3)) * scale
    second = rng.standard_normal((4000, 3)) * scale + 50
    metric = whitening([first, second])
    assert np.allclose(np.diag(metric) * scale**2, 1, atol=0.05)
    assert lengths(np.diag(scale), metric) == pytest.approx([1, 1, 1], abs=0.05)
    assert lengths(np.array([3.0, 4.0, 0.0]), None) == pytest.approx(5)
    assert projections(first, np.array([0, 1.0, 0]), None) == pytest.approx(first[:, 1])


def test_whitening_leaves_what_few_states_cannot_tell_alike():
    rng, width = generator(), 50
    scale = np.where(np.arange(width) < 3, 10.0, 1.0)
    states = rng.standard_normal((20, width)) * scale
    values = np.linalg.eigvalsh(whitening([states]))
    assert np.allclose(values[4:], values[-1])  # 20 / 5 = 4 leading components
    assert values[0] < values[3] < values[-1] / 2

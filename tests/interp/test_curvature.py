"""Curvature estimators on spaces whose curvature is known, and the flatness test's error rates."""

import numpy as np
import ot
import pytest
import skdim
from scipy.sparse.csgraph import shortest_path

from interp.curvature import excess, planted
from interp.curvature.dimension import two_nearest_neighbours
from interp.curvature.graph import distinct, euclidean, neighbourhood_graph
from interp.curvature.gromov import delta_at, relative_delta
from interp.curvature.holonomy import holonomy, principal_components
from interp.curvature.inner_products import (
    InnerProducts,
    final_gain,
    lengths,
    projections,
    unembedding_covariance,
    whitening,
)
from interp.curvature.measures import VOTING, measures
from interp.curvature.nulls import haar_orthogonal, off_ones, rotated
from interp.curvature.ollivier import edge_curvature
from interp.curvature.spectrum import fitted_radii, gram, negative_share
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


@pytest.mark.parametrize(
    ("space", "delta", "negative", "defect"),
    [
        ("flat", 0.48, 0.0, -0.003),
        ("sphere", 0.92, 0.27, 0.097),
        ("hyperbolic", 0.23, 0.04, -0.119),
        ("tree", 0.0, 0.06, -0.27),
    ],
)
def test_reference_values(space, delta, negative, defect):
    distances = reference_metric(space)
    assert relative_delta(distances, generator()) == pytest.approx(delta, abs=0.1)
    assert negative_share(distances) == pytest.approx(negative, abs=0.03)
    assert triangle_defect(distances, generator()) == pytest.approx(defect, abs=0.045)


@pytest.mark.parametrize(("dimension", "negative"), [(10, 0.35), (576, 0.41)])
def test_reference_values_of_noise_on_a_graph(dimension, negative):
    distances = euclidean(generator().standard_normal((N, dimension)))
    assert negative_share(neighbourhood_graph(distances, 10).geodesic) == pytest.approx(
        negative, abs=0.03
    )


def sheet(shape: str, n: int = 200) -> np.ndarray:
    """A plane with a little noise, bent."""
    rng = generator(2)
    flat = np.hstack([3 * rng.standard_normal((n, 2)), 0.05 * rng.standard_normal((n, 6))])
    return planted.bend(flat, shape, 2, {"sphere": 2 / 3, "hyperbolic": 0.4}.get(shape, 1), rng)  # type: ignore[arg-type]


def test_spaces_are_told_apart():
    found = {
        s: measures(sheet(s), 8, generator()) for s in ("flat", "sphere", "hyperbolic", "tree")
    }
    read = {name: [found[s][name] for s in found] for name in VOTING}
    flat, sphere, hyperbolic, tree = read["triangle_defect"]
    assert tree < hyperbolic < flat - 0.02 < flat + 0.02 < sphere
    flat, sphere, hyperbolic, tree = read["delta_rel"]
    assert tree < hyperbolic < flat < sphere
    flat, sphere, hyperbolic, tree = read["fit_ratio"]
    assert max(tree, hyperbolic) < flat < sphere
    flat, sphere, hyperbolic, _ = read["holonomy"]
    assert flat < 15 < min(sphere, hyperbolic)
    assert found["flat"]["negative_share"] < 0.15 < found["sphere"]["negative_share"]


def test_radii_of_exact_spaces_are_found():
    distances = sphere_distances(150, generator())
    found = fitted_radii(5 * distances, generator())
    scale = distances[np.triu_indices(150, 1)].mean()
    assert found["sphere_radius"] * scale == pytest.approx(1, rel=0.1)
    assert found["fit_ratio"] > 1
    points = hyperbolic_disc(150, 3, generator())
    distances = planted.hyperbolic_distances(points, 1.0)
    found = fitted_radii(distances, generator())
    scale = distances[np.triu_indices(150, 1)].mean()
    assert found["fit_ratio"] < 0
    # The grid's smallest radius is the diameter over pi.
    assert found["hyperbolic_radius"] * scale < 2.5


def test_gromov_delta_of_a_square_and_of_a_tree():
    circle = np.array([[0, 1, 2, 1], [1, 0, 1, 2], [2, 1, 0, 1], [1, 2, 1, 0]], dtype=float)
    assert delta_at(circle, 0) == pytest.approx(1)
    assert delta_at(tree_distances(60), 7) == pytest.approx(0, abs=1e-6)


def test_geodesics_follow_the_sample():
    angle = np.linspace(0, np.pi, 60)
    arc = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    graph = neighbourhood_graph(euclidean(arc), 2)
    assert graph.geodesic[0, -1] == pytest.approx(np.pi, rel=1e-3)
    assert (graph.geodesic >= graph.direct - 1e-12).all()


def test_clusters_are_bridged_where_the_gap_is_narrowest():
    points = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    graph = neighbourhood_graph(euclidean(points), 1)
    assert np.isfinite(graph.geodesic).all()
    assert graph.geodesic[0, 5] == pytest.approx(12)


def test_bad_graphs_are_refused():
    with pytest.raises(ActivationError, match="distinct"):
        neighbourhood_graph(euclidean(np.zeros((5, 2))), 2)
    with pytest.raises(ActivationError, match="neighbours"):
        neighbourhood_graph(euclidean(generator().random((5, 2))), 5)


def test_ollivier_agrees_with_the_optimal_transport_library():
    graph = neighbourhood_graph(euclidean(generator().standard_normal((40, 4))), 6)
    uniform = np.full(7, 1 / 7)
    for x in range(5):
        y = int(graph.neighbours[x, 0])
        supports = [np.append(graph.neighbours[z], z) for z in (x, y)]
        transport = ot.emd2(uniform, uniform, graph.geodesic[np.ix_(*supports)].copy())
        expected = 1 - float(transport) / graph.geodesic[x, y]
        assert edge_curvature(graph, x, y) == pytest.approx(expected, abs=1e-9)


def test_dimension_agrees_with_scikit_dimension():
    points = generator().standard_normal((300, 5))
    expected = skdim.id.TwoNN().fit(points).dimension_
    assert two_nearest_neighbours(euclidean(points)) == pytest.approx(expected, rel=0.05)


def test_gram_recovers_inner_products():
    points = generator().standard_normal((20, 3))
    centred = points - points.mean(axis=0)
    assert np.allclose(gram(euclidean(points)), centred @ centred.T)
    assert np.allclose(euclidean(principal_components(points, 20)), euclidean(points))


def test_holonomy_of_a_flat_sheet_vanishes():
    assert holonomy(sheet("flat"), generator()) < 15
    assert holonomy(sheet("sphere"), generator()) > 30


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


def test_a_tree_sample_has_tree_geodesics_when_dense():
    points = planted.on_tree(600, 1.0, generator())
    assert np.sqrt((points**2).sum(axis=1).mean()) == pytest.approx(1)
    assert relative_delta(neighbourhood_graph(euclidean(points), 3).geodesic, generator()) < 0.1


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


def test_too_few_states_are_refused():
    draws = excess.Draws(12, {"sphere": 1.0, "hyperbolic": 1.0}, 2, 2, 2)
    with pytest.raises(ActivationError, match="too few"):
        excess.readings(generator().standard_normal((15, 4)), draws, generator())


def test_readings_are_reproducible_and_complete():
    draws = excess.Draws(5, {"sphere": 0.67, "hyperbolic": 0.4}, 3, 2, 2)
    states = generator().standard_normal((30, 4))
    first, second = (excess.readings(states, draws, generator(1)) for _ in range(2))
    assert first == second
    counts = {"data": 1, "halves": 2, "flat": 3, **dict.fromkeys(excess.PLANTED, 2)}
    assert {kind: len(found["triangle_defect"]) for kind, found in first.items()} == counts


@pytest.mark.parametrize(("shape", "sign"), [("flat", 0), ("sphere", 1), ("hyperbolic", -1)])
def test_excess_has_the_sign_of_the_curvature(shape, sign):
    draws = excess.Draws(12, {"sphere": 0.67, "hyperbolic": 0.4}, 8, 4, 12)
    states = planted.surface(shape, 120, {"hyperbolic": 0.4}.get(shape, 0.67), generator())
    found = excess.readings(principal_components(states, 8)[:, :8], draws, generator(1))
    value, error = excess.excess(found)
    assert abs(value) < 0.02 if sign == 0 else sign * value - 2 * error > 0.02
    assert min(excess.power(found, f"{kind}.bare", 0.03) for kind in excess.SHAPES) == 1


def test_whitening_undoes_the_within_class_covariance():
    rng = generator()
    scale = np.array([10.0, 1.0, 0.1])
    first = rng.standard_normal((4000, 3)) * scale
    second = rng.standard_normal((4000, 3)) * scale + 50
    metric = whitening([first, second])
    # Shrinking towards a multiple of the identity costs the smallest scale most.
    assert np.allclose(np.diag(metric)[:2] * scale[:2] ** 2, 1, atol=0.05)
    assert 0.3 < metric[2, 2] * scale[2] ** 2 <= 1
    assert lengths(np.diag(scale), metric)[:2] == pytest.approx([1, 1], abs=0.05)
    assert lengths(np.array([3.0, 4.0, 0.0]), None) == pytest.approx(5)
    assert projections(first, np.array([0, 1.0, 0]), None) == pytest.approx(first[:, 1])


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


def test_predecessors_follow_scipy():
    graph = neighbourhood_graph(euclidean(generator().random((12, 2))), 3)
    assert (np.diag(graph.predecessors) == -9999).all()
    again = shortest_path(graph.geodesic, directed=False)
    assert np.allclose(again, graph.geodesic)

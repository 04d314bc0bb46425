"""Flat controls: what a sample with no curvature but the same mean, covariance or clusters gives.

`rotated` is mean + Q X_c, with X_c the centred states and Q a Haar-random orthogonal n x n matrix
that fixes the vector of ones. It keeps the sample's mean and covariance exactly, and for Gaussian
states it draws from their distribution given both (Langsrud 2005, rotation tests), so it is exact;
drawing from a Gaussian with the sample covariance is not.

Non-Gaussian is not non-Euclidean: `flat_mixture` keeps the sample's clusters as well, at two
scales. It splits the sample into the Gaussian mixture of least BIC, and each part into small
groups; in each part it rotates the groups' centres as `rotated` does, and the states about their
centre inside each group. Every part's mean and covariance are kept exactly, and so is how tightly
states huddle; the arrangement of the groups becomes that of Gaussian, flat data. Without the small
groups, prompts on like topics read as negative curvature.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.linalg import null_space
from sklearn.mixture import GaussianMixture

from interp.curvature.graph import Coordinates
from interp.curvature.holonomy import principal_components

Labels = Int[np.ndarray, " sample"]
MOST_CLUSTERS = 8
GROUP_SIZE = 5
CLUSTER_DIMENSIONS = 5


def haar_orthogonal(n: int, rng: np.random.Generator) -> Float[np.ndarray, "n n"]:
    """Haar-random orthogonal matrix, by QR with the signs fixed (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.sign(np.diag(r))


def off_ones(n: int) -> Float[np.ndarray, "n n_less_one"]:
    """Orthonormal basis of the complement of the vector of ones (Helmert's matrix)."""
    index = np.arange(1, n)
    basis = np.triu(np.ones((n, n - 1))) - np.eye(n, n - 1, k=-1) * index
    return basis / np.sqrt(index * (index + 1))


def rotated(coordinates: Coordinates, rng: np.random.Generator) -> Coordinates:
    """mean + Q X_c: the same mean and covariance to rounding, Gaussian otherwise."""
    n = len(coordinates)
    if n < 2:
        return coordinates
    mean = coordinates.mean(axis=0)
    basis = off_ones(n)
    turned = haar_orthogonal(n - 1, rng) @ (basis.T @ (coordinates - mean))
    return mean + basis @ turned


def clusters(coordinates: Coordinates, seed: int) -> Labels:
    """Labels of the Gaussian mixture with the least BIC (Schwarz 1978), of at most MOST_CLUSTERS.

    Diagonal covariances on the first CLUSTER_DIMENSIONS principal components. A criterion that may
    find a single cluster is needed: k-means cuts every sample into pieces, and the pieces of a
    curved sheet are flat. 1 for Gaussian samples and for sheets on a sphere, 8 for eight clusters.
    """
    reduced = principal_components(coordinates, CLUSTER_DIMENSIONS)
    floor = 1e-4 * float(reduced.var())
    mixtures = [
        GaussianMixture(k, covariance_type="diag", reg_covar=floor, random_state=seed).fit(reduced)
        for k in range(1, MOST_CLUSTERS + 1)
    ]
    return min(mixtures, key=lambda mixture: mixture.bic(reduced)).predict(reduced)


def groups(coordinates: Coordinates) -> Labels:
    """Small groups of about GROUP_SIZE near states, by Ward's method."""
    tree = linkage(coordinates, method="ward")
    return fcluster(tree, max(2, len(coordinates) // GROUP_SIZE), criterion="maxclust") - 1


def rotated_groups(
    coordinates: Coordinates, labels: Labels, rng: np.random.Generator
) -> Coordinates:
    """The groups' centres rotated among themselves, and each group rotated about its centre.

    Centres are weighted by the size of their group, so that mean and covariance are exact.
    """
    names, sizes = np.unique(labels, return_counts=True)
    mean = coordinates.mean(axis=0)
    centres = np.stack([coordinates[labels == name].mean(axis=0) for name in names])
    weights = np.sqrt(sizes)
    basis = null_space(weights[None])
    turned = basis @ haar_orthogonal(len(names) - 1, rng) @ basis.T
    moved = mean + turned @ (weights[:, None] * (centres - mean)) / weights[:, None]
    result = np.empty_like(coordinates)
    for index, name in enumerate(names):
        members = labels == name
        result[members] = rotated(coordinates[members], rng) + moved[index] - centres[index]
    return result


def flat_mixture(coordinates: Coordinates, labels: Labels, rng: np.random.Generator) -> Coordinates:
    """Each cluster rearranged on its own at two scales; clusters below two groups only rotated."""
    result = np.empty_like(coordinates)
    for label in np.unique(labels):
        members = labels == label
        part = coordinates[members]
        small = len(part) < 2 * GROUP_SIZE
        result[members] = rotated(part, rng) if small else rotated_groups(part, groups(part), rng)
    return result

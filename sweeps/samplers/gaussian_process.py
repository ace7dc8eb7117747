"""A Gaussian process over the unit cube, small enough to be asked between two trials: NumPy, no torch.

Matern 5/2 kernel with a length scale a column and with noise; its settings are those of the highest posterior
density, found by L-BFGS-B from the ones before. About 10 ms for 100 points of five columns.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtr

Array = NDArray[np.float64]

ITERATIONS = 25
JITTER = 1e-8
FAR = -5.0
LARGEST = 10_000_000
"""So many distances in single columns are held at once, about 80 MB; with 20 columns of 200 points, all."""
PRIOR = {"length": (np.log(0.7), 1.0), "scale": (0.0, 1.0), "noise": (np.log(0.05), 1.5)}
"""Mean and deviation of the logarithm of each setting; values are standardised, columns lie in 0..1."""
BOUNDS = {"length": np.log([0.05, 20.0]), "scale": np.log([0.05, 20.0]), "noise": np.log([1e-4, 1.0])}


class GaussianProcess:
    """Knows points and their values, and predicts others.

    Attributes:
        settings: Logarithms of the length scales, the kernel's scale and the noise, shape (columns + 2,).

    Args:
        points: Shape (points, columns), 0 to 1; the number of the choice in a column of categories.
        values: Shape (points,), to be minimised.
        categories: Which columns hold categories, shape (columns,): two are either equal or one apart.
        settings: Where to start from.
    """

    def __init__(
        self, points: Array, values: Array, categories: NDArray[np.bool_], settings: Array | None = None
    ) -> None:
        self._categories = categories
        columns = points.shape[1]
        names = ["length"] * columns + ["scale", "noise"]
        self._prior = np.array([PRIOR[name] for name in names]).T
        self._mean, self._deviation = values.mean(), max(float(values.std()), 1e-9)
        self._points, self._values = points, (values - self._mean) / self._deviation
        self._distances = self._squares(points, points)
        start = self._prior[0] if settings is None else settings
        found = minimize(self._loss, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS},
                         bounds=[tuple(BOUNDS[name]) for name in names])  # fmt: skip
        self.settings: Array = found.x
        self._factor()

    def believe(self, points: Array) -> None:
        """Adds points whose values are not known yet, as if they came out as predicted.

        Source: the kriging believer of Ginsbourger et al. 2010 (doi.org/10.1007/978-3-642-10701-6_6).
        """
        mean, _ = self._predict(points)
        self._points = np.concatenate([self._points, points])
        self._values = np.concatenate([self._values, mean])
        self._distances = self._squares(self._points, self._points)
        self._factor()

    def best(self) -> float:
        """The lowest value predicted at a known point, standardised.

        Not the lowest that was seen: where values are noisy or the landscape is rough, that one was lucky,
        and what is better than it is sought far from everything known.
        """
        return float(self._predict(self._points)[0].min())

    def log_expected_improvement(self, points: Array, best: float) -> Array:
        """How much lower than `best` the values are expected to be; logarithms, shape (points,)."""
        mean, variance = self._predict(points)
        deviation = np.sqrt(variance)
        z = (best - mean) / deviation
        density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
        near = np.maximum(z, FAR)
        improvement = np.log(np.exp(-0.5 * near**2) / np.sqrt(2 * np.pi) + near * ndtr(near))
        # Far below, the sum cancels; there it is density / (z^2 + 3), from the series of the Mills ratio.
        found: Array = np.log(deviation) + np.where(z < FAR, density - np.log(z**2 + 3), improvement)
        return found

    def _predict(self, points: Array) -> tuple[Array, Array]:
        """Mean and variance of the standardised values; of many columns in blocks, for their memory."""
        rows = max(1, LARGEST // self._points.size)
        blocks = [self._predict_block(points[start : start + rows]) for start in range(0, len(points), rows)]
        means, variances = zip(*blocks, strict=True)
        return np.concatenate(means), np.concatenate(variances)

    def _predict_block(self, points: Array) -> tuple[Array, Array]:
        kernel = self._kernel(self._squares(points, self._points), self.settings)[0]
        half = solve_triangular(self._cholesky[0], kernel.T, lower=True)
        return kernel @ self._weights, np.maximum(np.exp(self.settings[-2]) - (half**2).sum(0), 1e-12)

    def _squares(self, some: Array, others: Array) -> Array:
        """Squared distances in each column, shape (some, others, columns)."""
        differences = some[:, None, :] - others[None, :, :]
        squares: Array = np.where(self._categories, differences != 0, differences**2).astype(float)
        return squares

    @staticmethod
    def _kernel(squares: Array, settings: Array) -> tuple[Array, Array, Array]:
        """The kernel, the scaled distances, and their exponentials (which the gradient needs)."""
        distances = np.sqrt(5 * (squares @ np.exp(-2 * settings[:-2])) + 1e-12)
        decay = np.exp(-distances)
        return np.exp(settings[-2]) * (1 + distances + distances**2 / 3) * decay, distances, decay

    def _noisy(self, kernel: Array, settings: Array) -> Array:
        noisy: Array = kernel + (np.exp(settings[-1]) + JITTER) * np.eye(len(kernel))
        return noisy

    def _factor(self) -> None:
        kernel = self._kernel(self._distances, self.settings)[0]
        self._cholesky: Any = cho_factor(self._noisy(kernel, self.settings), lower=True)
        self._weights = cho_solve(self._cholesky, self._values)

    def _loss(self, settings: Array) -> tuple[float, Array]:
        """Negative logarithm of the posterior density up to a constant, and its gradient.

        Source: Rasmussen and Williams 2006, equations 5.8 and 5.9 (gaussianprocess.org/gpml).
        """
        kernel, distances, decay = self._kernel(self._distances, settings)
        try:
            cholesky = cho_factor(self._noisy(kernel, settings), lower=True)
        except LinAlgError:
            return 1e10, np.zeros_like(settings)
        weights = cho_solve(cholesky, self._values)
        slope = cho_solve(cholesky, np.eye(len(kernel))) - np.outer(weights, weights)
        radial = slope * np.exp(settings[-2]) * (1 + distances) * decay * 5 / 3
        gradient = np.empty_like(settings)
        lengths = np.einsum("ij,ijk->k", radial, self._distances)
        gradient[:-2] = 0.5 * lengths * np.exp(-2 * settings[:-2])
        gradient[-2] = 0.5 * (slope * kernel).sum()
        gradient[-1] = 0.5 * np.exp(settings[-1]) * np.trace(slope)
        mean, deviation = self._prior
        loss = 0.5 * self._values @ weights + np.log(np.diag(cholesky[0])).sum()
        away = (settings - mean) / deviation
        return float(loss + 0.5 * (away**2).sum()), gradient + away / deviation

"""A sparse autoencoder over differences of embeddings, small enough to train on a CPU.

After "What's in my human feedback?" (Movva et al. 2025): signed batch top-k, Matryoshka
prefixes, unit decoder rows. There the differences are trained together with their negatives;
here the model has no bias, so it is odd by construction (`z(-e) == -z(e)`) and a difference and
its negative give the same gradient. What it learns therefore cannot depend on which answer was
preferred.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from curate.arrays import Floats
from curate.errors import importing

_CHECKED = 50  # batches after which an unused feature starts afresh


class Autoencoder(NamedTuple):
    """Encoder (d, features), decoder (features, d) of unit rows, and what counts as active."""

    encoder: Floats
    decoder: Floats
    threshold: float
    explained: float

    def activations(self, differences: Floats) -> Floats:
        """Return (n, features): signed activations, 0 where below the threshold."""
        z = differences @ self.encoder
        return np.where(np.abs(z) >= self.threshold, z, 0.0)


def batch_top_k(z: Floats, k: int) -> Floats:
    """Keep of `z` (rows, features) the `k` * rows values that are largest in size; 0 the rest."""
    most = min(k * len(z), z.size)
    if not most:
        return z
    kept = np.zeros(z.size)
    best = np.argpartition(-np.abs(z).reshape(-1), most - 1)[:most]
    kept[best] = z.reshape(-1)[best]
    return kept.reshape(z.shape)


def train(
    differences: Floats,
    features: int = 32,
    k: int = 4,
    *,
    steps: int = 1000,
    batch: int = 256,
    rate: float = 5e-3,
    seed: int = 0,
) -> Autoencoder:
    """Fit the autoencoder to (n, d) differences; deterministic by `seed`.

    The loss is the squared error of the first 8 features and of all, over the squared length;
    Adam, with the gradient's length cut at 1. A feature that was not active for 50 batches starts
    afresh at the worst rebuilt difference. At least `steps` batches are drawn, and as many rows as
    50 rounds have. Raises ValueError for fewer rows than features, MissingExtra without torch.
    """
    if len(differences) < features:
        raise ValueError(f"{len(differences)} differences are too few for {features} features")
    with importing("torch", "embed"):
        import torch
    scale = np.sqrt((differences**2).sum(axis=1).mean())
    x = differences / scale
    draws = np.random.default_rng(seed)
    rows = _unit(draws.standard_normal((features, x.shape[1])))
    encoder, decoder = (torch.tensor(w, requires_grad=True) for w in (rows.T.copy(), rows))
    adam = torch.optim.Adam([encoder, decoder], lr=rate)
    prefixes = sorted({min(8, features), features})
    used, smallest = np.zeros(features, dtype=bool), list[float]()
    with _one_thread(torch):
        for step in range(1, max(steps, 50 * len(x) // batch) + 1):
            some = torch.from_numpy(x[draws.integers(len(x), size=batch)])
            z = some @ encoder
            kept = torch.from_numpy(batch_top_k(z.detach().numpy(), k) != 0)
            z = torch.where(kept, z, 0.0)  # what is left out has no gradient
            used |= kept.any(dim=0).numpy()
            smallest.append(float(z[kept].detach().abs().min()) if bool(kept.any()) else np.inf)
            missing = sum(((z[:, :m] @ decoder[:m] - some) ** 2).sum() for m in prefixes) / batch
            adam.zero_grad()
            missing.backward()
            torch.nn.utils.clip_grad_norm_([encoder, decoder], 1.0)
            adam.step()
            with torch.no_grad():
                decoder /= decoder.norm(dim=1, keepdim=True).clamp_min(1e-12)
            if step % _CHECKED == 0:
                _restart(x, adam, np.flatnonzero(~used), k)
                used[:] = False
    weights = [w.detach().numpy() for w in (encoder, decoder)]
    error = ((batch_top_k(x @ weights[0], k) @ weights[1] - x) ** 2).sum() / (x**2).sum()
    threshold = float(np.mean(smallest[-_CHECKED:]))
    return Autoencoder(weights[0] / scale, weights[1], threshold, 1.0 - float(error))


@contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """Compute on one thread: with matrices this small, threads wait for each other alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _restart(x: Floats, adam: Any, dead: npt.NDArray[np.int64], k: int) -> None:
    """Set features anew, in place, and let Adam forget which way they moved."""
    if not len(dead):
        return
    encoder, decoder = adam.param_groups[0]["params"]
    into, out = encoder.detach().numpy(), decoder.detach().numpy()  # the same memory
    missing = x - batch_top_k(x @ into, k) @ out
    worst = np.argsort(-(missing**2).sum(axis=1), kind="stable")[: len(dead)]
    fresh = _unit(missing[worst])
    largest = np.abs(fresh).argmax(axis=1)
    fresh *= np.sign(fresh[np.arange(len(fresh)), largest])[:, None]  # not the pair's own sign
    into[:, dead], out[dead] = fresh.T, fresh
    for name in ("exp_avg", "exp_avg_sq"):
        adam.state[encoder][name][:, dead] = 0.0
        adam.state[decoder][name][dead] = 0.0


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))

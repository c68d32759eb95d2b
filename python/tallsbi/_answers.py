"""Recordings as observations, predictions, comparisons of models."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _tallsbi
from ._arrays import Array, checked_seed, rows, text
from ._model import Model
from ._progress import Progress, resolve


@dataclass(frozen=True)
class Channel:
    """One channel of a recording: `rate` in Hz."""

    label: str
    rate: float
    unit: str
    samples: int


@dataclass(frozen=True)
class Annotation:
    """A remark on a stretch of time, s; `duration` is None for a moment."""

    onset: float
    duration: float | None
    text: str


@dataclass(frozen=True)
class Recording:
    """What a recording's file says: EDF, BDF or BrainVision."""

    path: str
    format: str
    channels: list[Channel]
    annotations: list[Annotation]


@dataclass(frozen=True)
class Windows:
    """Observations `x` (n, d) made of a recording, the `starts` (s) of their windows, and (start, fault) of those left out."""

    x: Array
    starts: Array
    rejected: list[tuple[float, str]]


@dataclass(frozen=True)
class Evidence:
    """log p(x_1..n) of a model, its Monte Carlo error, and the model's probability among those compared."""

    log_evidence: float
    error: float
    probability: float


def read_recording(path: str | os.PathLike[str]) -> Recording:
    """Channels, rates, units and annotations of an EDF, BDF or BrainVision (.vhdr) file."""
    found = json.loads(_tallsbi.recording(os.fspath(path)))
    channels = [Channel(**channel) for channel in found["channels"]]
    annotations = [Annotation(**annotation) for annotation in found["annotations"]]
    return Recording(os.fspath(path), found["format"], channels, annotations)


def summarise_recording(
    model: Model,
    path: str | os.PathLike[str],
    channel: str | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
    annotation: str | None = None,
    unit: str | None = None,
    notch: float | None = None,
    largest: float | None = None,
    frequencies: tuple[float, float] | None = None,
) -> Windows:
    """Observations for `model`, one of signals, of a recording's windows: converted to mV, resampled, and summarised as its simulations were. Windows that are
    flat, clipped or huge are left out, with a warning; so is it told if the windows change along the recording. `frequencies` (lowest, highest) in Hz are
    those that are used: the power at others is NaN, a missing value. For models of the likelihood they are (0, 30) unless given: above, the simulator's signal is aliased, and
    recordings are not."""
    window = model.info.get("signal_window")
    if window is None:
        raise ValueError("model: is not one of signals; give it its observations")
    given = {
        "channel": channel, "start": start, "end": end, "annotation": annotation, "unit": unit, "notch": notch,
        "largest": largest, "frequencies": None if frequencies is None else [float(value) for value in frequencies],
    }
    options = text({key: value for key, value in given.items() if value is not None})
    size = (window["samples"], window["sampling_rate"])
    x, starts, rejected, order = _tallsbi.summarise_recording(os.fspath(path), size, options, model.architecture == "likelihood")
    for said in order:
        warnings.warn(said, stacklevel=2)
    if rejected:
        at, fault = rejected[0]
        warnings.warn(f"{len(rejected)} windows are left out; the first, at {at:g} s: {fault}", stacklevel=2)
    return Windows(x, np.asarray(starts), rejected)


def compare(
    models: Sequence[Model], x: Any, *, samples: int = 1000, seed: int = 0, progress: Progress | bool | None = None
) -> list[Evidence]:
    """Which of several models do the observations x (n, d) prefer? All must have learned likelihoods; probabilities are for equal ones before. The error
    of a learned likelihood is not in `error`."""
    width = models[0]._native.dim_x if models else 1
    natives = [model._native for model in models]
    options = text({"samples": int(samples)})
    found = _tallsbi.compare(natives, rows(x, "observations", width), options, checked_seed(seed), resolve(progress))
    return [Evidence(**evidence) for evidence in json.loads(found)]

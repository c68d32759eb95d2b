"""How wide samplers leave a Gaussian posterior: the table of docs/samplers.md. Needs NumPy.

With the exact score of N(0, S²) each sampler's step is linear, so the variance of its samples follows without sampling: the relative
error of their standard deviation is printed, for posteriors of standard deviation S (the prior has 1), alpha_t = exp(-16 t²).
"""

import numpy as np


def ddim(s, steps, eta):
    """DDIM on times uniform from 1 to 0, as published."""
    times = np.linspace(1, 0, steps + 1)
    alpha = np.exp(-16 * times**2)
    v = 1 - alpha
    variance = alpha[0] * s**2 + v[0]
    for i in range(steps):
        noise = max(eta**2 * v[i + 1] / v[i] * (1 - alpha[i] / alpha[i + 1]), 0)
        ratio = np.sqrt(alpha[i + 1] / alpha[i])
        gain = ratio * v[i] - np.sqrt(max(v[i + 1] - noise, 0) * v[i])
        variance = (ratio - gain / (alpha[i] * s**2 + v[i])) ** 2 * variance + noise
    return np.sqrt(variance) / s - 1


def dpm_solver(s, steps, eta, start=100.0, end=0.1):
    """DPM-Solver++(2M), uniform in log-SNR from noise `start` to `end` times S, then the last step."""
    log_snr = np.linspace(-np.log(start), -np.log(end * s), steps)
    alpha = 1 / (1 + np.exp(-2 * log_snr))
    v = 1 - alpha
    # Of the sample and of the denoised mean one step before.
    covariance = np.array([[alpha[0] * s**2 + v[0], 0.0], [0.0, 0.0]])
    before = None
    for i in range(steps - 1):
        h = log_snr[i + 1] - log_snr[i]
        denoise = (1 - v[i] / (alpha[i] * s**2 + v[i])) / np.sqrt(alpha[i])
        more = 0.0 if before is None else h / (2 * before)
        keep = np.sqrt(v[i + 1] / v[i]) * np.exp(-eta * h)
        gain = -np.sqrt(alpha[i + 1]) * np.expm1(-(1 + eta) * h)
        step = np.array([[keep + gain * (1 + more) * denoise, -gain * more], [denoise, 0.0]])
        covariance = step @ covariance @ step.T
        covariance[0, 0] -= v[i + 1] * np.expm1(-2 * eta * h)
        before = h
    last = (1 - 0.5 * v[-1] / (alpha[-1] * s**2 + v[-1])) / np.sqrt(alpha[-1])
    return np.sqrt(last**2 * covariance[0, 0]) / s - 1


COLUMNS = [
    ("DDIM 50", lambda s: ddim(s, 50, 0.2)),
    ("DDIM 150", lambda s: ddim(s, 150, 0.5)),
    ("DDIM 400", lambda s: ddim(s, 400, 0.8)),
    ("DDIM 1000", lambda s: ddim(s, 1000, 1.0)),
    ("DDIM 4000", lambda s: ddim(s, 4000, 1.0)),
    ("DPM++ 20, η = 1", lambda s: dpm_solver(s, 20, 1.0)),
    ("DPM++ 30, η = 1", lambda s: dpm_solver(s, 30, 1.0)),
    ("DPM++ 30, η = 0", lambda s: dpm_solver(s, 30, 0.0)),
]

print("| S |", " | ".join(name for name, _ in COLUMNS), "|")
print("|---" * (len(COLUMNS) + 1) + "|")
for s in [0.3, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005]:
    print(f"| {s} |", " | ".join(f"{100 * error(s):+.1f} %" for _, error in COLUMNS), "|")

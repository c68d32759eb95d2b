# %% [markdown]
# # The parameters of a Jansen–Rit model from thirty recordings
#
# Cells in percent format: VS Code, Spyder and `jupytext --to ipynb` open this file as a notebook. A small job, less than a minute on two cores: training sets
# of 30 000 rows and more give narrower posteriors.

# %%
import numpy as np
import tallsbi

# %% [markdown]
# The task simulates a recording of a neural mass at C, μ, σ and sums it up in 33 logarithms of its spectrum. Any function of (θ, rng) with a prior would do.

# %%
simulations = tallsbi.simulate("jrnmm_3d", n=4000, seed=0)
print(simulations.prior.names, simulations.theta.shape, simulations.x.shape)

# %% [markdown]
# One training serves any number of recordings.

# %%
model = tallsbi.train(simulations, epochs=8, hidden=[32], members=1, seed=0)
print(model, model.notes)

# %%
truth = np.array([135.0, 220.0, 2000.0])
_, x = tallsbi.observe("jrnmm_3d", truth, n=30, seed=1)
widths = {}
for n in (1, 30):
    samples = model.posterior(x[:n]).sample(300)
    widths[n] = samples.std(0)
    print(f"n = {n}:", ", ".join(f"{name} = {m:.0f} ± {s:.0f}" for name, m, s in zip(model.names, samples.mean(0), widths[n], strict=True)))
assert (widths[30] < widths[1]).all()

# %% [markdown]
# The warning is right: each error of a small network counts thirty times at thirty recordings. Refinement spends simulations there.

# %%
refined = tallsbi.refine("jrnmm_3d", x, simulations=simulations, budget=8000, seed=3)
print(f"settled: {refined.settled} ({refined.reason}); {refined.simulations} simulations")
print({name: f"{mean:.1f} ± {sd:.1f}" for name, mean, sd in zip(model.names, refined.samples.mean(0), refined.samples.std(0), strict=True)})

# %% [markdown]
# Is it to be believed at these recordings? Posterior SBC simulates new ones at draws of the posterior.

# %%
check = tallsbi.posterior_sbc(refined.posterior, "jrnmm_3d", pairs=40, draws=40)
print(f"posterior SBC p = {check.p_value:.3f}", {name: round(p, 3) for name, p in check.p_values.items()})

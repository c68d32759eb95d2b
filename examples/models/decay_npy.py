"""An array in, (rows, 1 + parameters) with the seed first; an array out, (rows, values)."""
import sys

import numpy as np

times = np.array([0.5, 1, 2])
while sys.stdin.buffer.peek(1):
    seed, k, s = np.lib.format.read_array(sys.stdin.buffer).T
    noise = np.array([np.random.default_rng(int(one)).standard_normal(3) for one in seed])
    np.save(sys.stdout.buffer, np.exp(-k[:, None] * times + s[:, None] * noise))
    sys.stdout.buffer.flush()

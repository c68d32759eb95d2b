"""An array in, (rows, 1 + parameters) with the seed first; an array out, (rows, values)."""
import io
import sys

import numpy as np


class Input:
    """Standard input, which numpy must not take for a file with positions."""

    read = sys.stdin.buffer.read


times = np.array([0.5, 1, 2])
while sys.stdin.buffer.peek(1):
    seed, k, s = np.lib.format.read_array(Input).T
    noise = np.array([np.random.default_rng(int(one)).standard_normal(3) for one in seed])
    out = io.BytesIO()
    np.save(out, np.exp(-k[:, None] * times + s[:, None] * noise))
    sys.stdout.buffer.write(out.getvalue())
    sys.stdout.buffer.flush()

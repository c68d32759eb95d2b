"""A line in, seed and parameters; a line out, the values."""
import math
import random
import sys

for line in sys.stdin:
    seed, k, s = line.split()
    random.seed(int(seed))
    values = [math.exp(-float(k) * t + float(s) * random.gauss(0, 1)) for t in (0.5, 1, 2)]
    print(*values, flush=True)

"""What preparing lines.jsonl does, with Python's json and NumPy: python lines.py FILE OUTPUT."""
import json
import sys

import numpy as np

x, y = [], []
with open(sys.argv[1]) as f:
    for line in f:
        row = json.loads(line)
        x.append(np.array(row["x"]))
        y.append(row["label"])
np.savez(sys.argv[2], x=np.stack(x), label=np.array(y))

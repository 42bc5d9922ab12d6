"""The same as `toolkit bench run SPEC.yaml`.

python benchmarks/sweep.py benchmarks/specs/embedded.yaml
"""

from __future__ import annotations

import sys

from toolkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", "run", *sys.argv[1:]]))

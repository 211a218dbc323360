"""selfseg: from a folder of segmented scans to a trained, tested segmentation model.

The verbs of the command line are functions of `selfseg.pipeline`. Importing this package
imports nothing heavy.
"""

import os

__version__ = "0.1.0"

# OpenMP's threads wait for each other by spinning. Where another program uses one of the cores,
# the others then burn their time: measured on two busy cores, a training step took 4 s in place
# of 0.5 s. These must be set before PyTorch is loaded; what the user has set is kept.
if "OMP_WAIT_POLICY" not in os.environ and "GOMP_SPINCOUNT" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ["GOMP_SPINCOUNT"] = "10000"

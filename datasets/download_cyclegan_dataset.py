"""Download a data set of the CycleGAN paper: `python datasets/download_cyclegan_dataset.py NAME`.

The same as `python datasets/download.py cyclegan_dataset NAME`, under the name that guides use.
"""

import sys

from download import run

if __name__ == "__main__":
    sys.exit(run(["cyclegan_dataset", *sys.argv[1:]]))

"""Download a data set from the CycleGAN paper: `python datasets/download_cyclegan_dataset.py NAME`.

The same as `python datasets/download.py cyclegan_dataset NAME`, under the name that tutorials use.
"""

import sys

from download import run

if __name__ == "__main__":
    sys.exit(run(["cyclegan_dataset", *sys.argv[1:]]))

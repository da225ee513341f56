"""Download a data set from the pix2pix paper: `python datasets/download_pix2pix_dataset.py NAME`.

The same as `python datasets/download.py pix2pix_dataset NAME`, under the name that tutorials use.
"""

import sys

from download import run

if __name__ == "__main__":
    sys.exit(run(["pix2pix_dataset", *sys.argv[1:]]))

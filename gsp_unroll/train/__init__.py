"""Training of image networks: `python -m gsp_unroll.train --help`."""

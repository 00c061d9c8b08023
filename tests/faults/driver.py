"""`python -m faults.driver URL ARGUMENT...`: w2v, as if the tiny treebank were published at URL."""

import sys

from faults.treebank import FAST, published
from w2v.cli.main import main
from w2v.sources import ptb

if __name__ == "__main__":
    ptb.fetch.__kwdefaults__.update(published=published(sys.argv[1]), patience=FAST)
    main(sys.argv[2:])

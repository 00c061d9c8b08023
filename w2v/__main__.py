"""`python -m w2v`: the same as the `w2v` command."""

from w2v.cli.main import main

main()

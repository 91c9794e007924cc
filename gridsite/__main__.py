"""Run the command ``gridsite`` as ``python -m gridsite``."""

from gridsite.cli import main

main()

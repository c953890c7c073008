"""`python -m sparsegrad_cli` is `sparsegrad`."""

from .cli.main import main

main()

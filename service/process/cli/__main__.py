"""`python -m service.process.cli`, which is `jzb`."""

from service.process.cli import app

app()

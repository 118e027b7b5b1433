"""The process that reads one large file (`bankclient.files.reading`)."""

import os
import sys

from bankclient.files.reading import NICE, serve

os.nice(NICE)
serve(sys.stdin.buffer, sys.stdout.buffer)

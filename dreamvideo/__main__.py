"""`python -m dreamvideo` is the command `dreamvideo`."""

import sys

from dreamvideo.cli import main

sys.exit(main())

"""`python -m dreamvideo` is the command `dreamvideo`."""

import sys

from dreamvideo.cli.main import main

sys.exit(main())

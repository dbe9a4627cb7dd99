"""``python -m tests.pictures``: the README's pictures."""

import sys

from tests.pictures.page import main

if __name__ == "__main__":
    sys.exit(main())

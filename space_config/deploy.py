"""``python -m space_config.deploy``: deploys a Space, under the name that people have in their scripts."""

from __future__ import annotations

import sys

from space_config.space.deploy import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m xray_core``, and ``radtune``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; a Ctrl-C while it is loaded ends it as one later does."""
    try:
        from xray_core.cli import main as run
    except KeyboardInterrupt:
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())

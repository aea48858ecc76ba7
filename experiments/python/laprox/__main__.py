"""`laprox`, and `python -m laprox`: the command of the simulator, in this process."""

import sys

from laprox import _laprox


def main() -> None:
    """Runs the command with this process's arguments, and exits with its code."""
    sys.exit(_laprox.run([sys.executable, "-m", "laprox"], ["laprox", *sys.argv[1:]]))


if __name__ == "__main__":
    main()

"""``python -m edgecv``: the same as the ``edgecv`` command."""

from edgecv.cli.main import main

if __name__ == "__main__":
    main()

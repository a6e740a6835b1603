"""Development commands: `python dev.py demo`, `python dev.py test`; `python dev.py --help` lists the rest.

Needs nothing but Python 3.10 or newer; whatever else is needed is fetched into a private cache folder.
"""

import sys

if sys.version_info < (3, 10):
    # Said here, before anything is imported: the rest does not even parse on older versions.
    sys.exit(
        "error: this Python is too old\n"
        "  got:        Python {}.{}\n"
        "  expected:   Python 3.10 or newer\n"
        "  what to do: run dev.py with a newer Python, for example `python3.12 dev.py test`".format(
            *sys.version_info
        )
    )

if __name__ == "__main__":
    from devtools.cli import main

    sys.exit(main(sys.argv[1:]))

"""Turns a workflow as the browser saves it into the prompt that the server takes; runs where comfy-cli is installed.

Reads {"workflow": ..., "object_info": ...} from standard input, writes the prompt to standard output.
"""

from __future__ import annotations

import json
import sys

from comfy_cli.workflow_to_api import convert_ui_to_api


def main() -> None:
    """Convert standard input to standard output."""
    given = json.load(sys.stdin)
    json.dump(convert_ui_to_api(given["workflow"], given["object_info"]), sys.stdout)


if __name__ == "__main__":
    main()

from __future__ import annotations

import re

from devtools import versions


def test_the_pinned_hosts_are_these() -> None:
    pairs = {comfyui: archive.version for comfyui, archive in versions.ARCHIVES.items()}
    assert pairs == {"0.30.0": "2.6.0", "0.24.1": "2.3.0", "0.18.2": "2.0.0", "0.16.3": "1.1.0"}
    assert versions.DEFAULT_HOST == "0.30.0"


def test_every_archive_has_a_digest_of_its_own() -> None:
    digests = [archive.sha256 for archive in versions.ARCHIVES.values()]
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in digests)
    assert len(set(digests)) == len(digests)

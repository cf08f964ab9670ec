"""A server of S3-compatible object storage on loopback, for tests: moto's, in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field

from typing_extensions import Self

BUCKET = "measurements"


@dataclass
class BucketServer:
    """The server, with one bucket, while it is used as a context manager."""

    requests: list[str] = field(default_factory=list)
    address: str = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in self._process.stderr:
            running = re.search(r"Running on (http://127\.0\.0\.1:\d+)", line)
            if running:
                self.address = running[1]
                break
        self._listener = threading.Thread(target=self._note, daemon=True)
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.join()
        self._process.stderr.close()

    def _note(self) -> None:
        for line in self._process.stderr:
            asked = re.search(r'"([A-Z]+ \S+) HTTP', re.sub(r"\x1b\[[0-9;]*m", "", line))
            if asked:
                self.requests.append(asked[1])

    def environment(self) -> dict[str, str]:
        """What makes every client ask this server."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

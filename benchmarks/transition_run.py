"""How busy asking keeps a server: requests under way at a time, of 16 that may be, through the whole stage `run`.

    python benchmarks/transition_run.py

A server on loopback, in a process of its own, answers each request after a set time and notes how many are under way.
Prints the share of time in which all 16 were, and the mean number of them over 16, from the first to the last arrival;
the aim is 0.9 for the mean. Both are ratios within one run, so that a slow machine changes them little.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

CONCURRENCY = 16
AIM = 0.9
ANSWER = (
    b'data: {"choices": [{"index": 0, "delta": {"content": "this"}, "finish_reason": null}]}\n\n'
    b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
    b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}\n\ndata: [DONE]\n\n'
)


class Busy:
    """How many requests were under way, and how long."""

    def __init__(self) -> None:
        self.now = 0
        self.seconds = [0.0] * (CONCURRENCY + 1)
        self.at_last_arrival = list(self.seconds)
        self.since_s: float | None = None

    def change(self, by: int) -> None:
        """Note that a request came, or was answered."""
        moment_s = time.perf_counter()
        if self.since_s is not None:
            self.seconds[min(self.now, CONCURRENCY)] += moment_s - self.since_s
        self.since_s, self.now = moment_s, self.now + by
        if by > 0:
            self.at_last_arrival = list(self.seconds)

    def shares(self) -> dict[str, float]:
        """Return the share of time in which all were under way, and the mean over all, until the last arrival."""
        whole_s = sum(self.at_last_arrival)
        mean = sum(number * each_s for number, each_s in enumerate(self.at_last_arrival)) / whole_s
        return {"all": self.at_last_arrival[-1] / whole_s, "mean": mean / CONCURRENCY, "seconds": whole_s}


async def serve(answer_s: float) -> None:
    """Answer requests, and GET with how busy it was."""
    busy = Busy()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lengths = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                kind, body = "application/json", json.dumps(busy.shares() if busy.now == 0 and busy.since_s else {})
                told = body.encode()
                if lengths:
                    await reader.readexactly(int(lengths[0].partition(":")[2]))
                    busy.change(1)
                    await asyncio.sleep(answer_s)
                    kind, told = "text/event-stream", ANSWER
                writer.write(
                    f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(told)}\r\n\r\n".encode() + told
                )
                if lengths:
                    busy.change(-1)
                await writer.drain()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def ask(folder: Path, url: str, requests: int) -> float:
    """Prepare a group of so many questions, ask it, and return how long that took in s."""
    from groundlake.store import Lake
    from groundlake.transition.configuration.config_file import load_settings
    from groundlake.transition.data.prepare import prepare
    from groundlake.transition.inference.run import run

    rows = ({"_id": f"e{number}", "input": "q?", "context": "c " * 200, "answers": ["a"]} for number in range(requests))
    (folder / "hotpotqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = {
        "dataset": {"task": "hotpotqa", "path": str(folder), "n_per_bin": requests},
        "model": {"name": "made"},
        "engine": {"base_url": url, "concurrency": CONCURRENCY},
        "output": {"exp_group_id": "benchmark", "folder": str(folder / "results")},
    }
    (folder / "benchmark.yaml").write_text(json.dumps(told))
    settings, lake = load_settings(folder / "benchmark.yaml", environment={}), Lake(folder / "lake")
    prepare(settings, lake)
    begun_s = time.perf_counter()
    outcome = run(settings, lake)
    if outcome.answered != requests:
        raise SystemExit(f"{outcome.answered} of {requests} requests were answered")
    return time.perf_counter() - begun_s


def main() -> None:
    """Start the server, ask, and print how busy it was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=800)
    parser.add_argument("--answer-s", type=float, default=0.25, help="time that the server takes for an answer")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        asyncio.run(serve(chosen.answer_s))
        return
    command = [sys.executable, __file__, "--serve", "--answer-s", str(chosen.answer_s)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        try:
            url = f"http://127.0.0.1:{server.stdout.readline().strip() if server.stdout else ''}"
            whole_s = ask(Path(folder), url, chosen.requests)
            with urlopen(url) as answer:
                shares = json.load(answer)
        finally:
            server.terminate()
    print(f"{chosen.requests} requests, {CONCURRENCY} at a time, {chosen.answer_s:g} s each: {whole_s:.1f} s in all")
    print(f"under way over {CONCURRENCY}: mean {shares['mean']:.3f} (aim {AIM:g}); all of them {shares['all']:.3f}")


if __name__ == "__main__":
    main()

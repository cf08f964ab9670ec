"""What is kept of requests until the lake has them: at once, and never in the way of what comes after."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from transition_group import Group, Recall

from groundlake.errors import CorruptLakeError
from groundlake.transition.inference.journal import Journal, left_behind, read

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow  # together they take minutes

WAIT_S = 60


def test_a_request_that_ended_is_in_the_file_before_the_next_is_asked(tmp_path: Path) -> None:
    with Journal(tmp_path, "kv-0", {"run": {}}) as journal:
        for count in (1, 2):
            journal.add({"kv_requests": [{"request_id": f"r{count}"}]})
            assert len(journal.path.read_bytes().splitlines()) == 1 + count
            kept = read(journal.path)
            assert kept is not None
            assert [each["kv_requests"][0]["request_id"] for each in kept.outcomes] == ["r1", "r2"][:count]


def test_a_journal_that_the_lake_refuses_is_named_each_time_with_what_to_do(tmp_path: Path) -> None:
    with Recall() as server:
        group = Group(tmp_path / "group", server.url)
        group.prepare()
        server.hold_from = 3
        process = group.start()
        assert server.held.wait(WAIT_S), process.communicate()
        process.kill()
        process.communicate()
        server.hold_from = None
        (journal,) = left_behind(group.results)
        head, first, second = map(json.loads, journal.read_text().splitlines())
        for wrong in ({"prompt_tokens": 10**30}, {"latency_ms": -1.0}, {"latency_ms": -1.0}):
            spoilt = second | {"kv_responses": [second["kv_responses"][0] | wrong]}
            journal.write_text("".join(json.dumps(each) + "\n" for each in (head, first, spoilt)))
            with pytest.raises(CorruptLakeError, match="does not take what this journal of a run holds") as refused:
                group.run()
            assert str(refused.value).startswith(f"{journal}: ")
            assert "move it away to go on without it: its requests are asked again" in str(refused.value)
            assert journal.exists()
        journal.rename(tmp_path / "moved")
        assert group.run().asked == 6
    group.require_consistent()

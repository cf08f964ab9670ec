"""From a LongBench file to a manifest: reading, what is wrong with files, and a snapshot that can be carried about."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from groundlake.errors import LakeEnvironmentError, UsageError
from groundlake.transition.data.bins import bin_remarks, quantile_bins, with_selected, within_limits
from groundlake.transition.data.examples import Example, dataset_id
from groundlake.transition.data.longbench import base_task, read_longbench
from groundlake.transition.data.manifest import (
    Entry,
    Manifest,
    Source,
    TokenizerFacts,
    bin_facts,
    bins_of,
    read_manifest,
    write_manifest,
)
from groundlake.transition.data.selection import Sampling, select
from groundlake.transition.data.tokens import WordCounter, count_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TASK = "narrativeqa"


def row(number: int, **changes: object) -> dict[str, object]:
    """Return a row as LongBench has it; None leaves a field out."""
    made: dict[str, Any] = {
        "input": f"What happens on day {number}?",
        "context": "It rained. " * number,
        "answers": [f" rain {number} "],
        "length": 2 * number,
        "dataset": TASK,
        "language": "en",
        "all_classes": None,
        "_id": f"id{number:03}",
    }
    return {key: value for key, value in (made | changes).items() if value is not ...}


def lines(rows: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in rows)


def written(path: Path, content: bytes | list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else lines(content))
    return path


def read(folder: Path, *rows: dict[str, object], task: str = TASK) -> tuple[Example, ...]:
    return read_longbench(written(folder / "any.jsonl", list(rows)), task).examples


def refusal(path: Path, task: str = TASK) -> str:
    with pytest.raises(UsageError) as raised:
        read_longbench(path, task)
    return str(raised.value)


ROWS = [row(number) for number in range(1, 41)]


def prepared(path: Path) -> Manifest:
    """Prepare a file as the command does, with at most 10 of 40 words and 3 bins."""
    found = read_longbench(path, TASK)
    counter = WordCounter()
    counted = count_all(found.examples, counter, {}, prompt=lambda each: f"{each.context}\n\n{each.question}")
    kept = within_limits({each.example_id: each.tokens for each in counted}, max_prompt_tokens=100)
    bins = quantile_bins(kept.lengths.values(), 3)
    selection = select(kept.lengths, bins, Sampling(n_per_bin=2, seed=1), dropped=kept.dropped)
    examples = {each.example_id: each for each in found.examples}
    return Manifest(
        dataset_id=dataset_id("longbench", TASK),
        task=TASK,
        source=Source(name=found.source, sha256=found.sha256, n_examples=len(found.examples)),
        tokenizer=TokenizerFacts(name=counter.name, fingerprint=counter.fingerprint, is_approximate=True),
        filters={"max_prompt_tokens": 100},
        dropped=kept.dropped_by,
        sampling={"strategy": "uniform", "n_per_bin": 2, "seed": 1},
        bins=bin_facts(with_selected(bins, [each.bin_index for each in selection.entries])),
        entries=tuple(
            Entry(**vars(each), content_sha256=examples[each.example_id].content_sha256) for each in selection.entries
        ),
        examples=tuple(examples[each.example_id] for each in selection.entries),
        remarks=(*found.remarks, *bin_remarks(bins), *selection.remarks),
    )


# Reading


def test_an_example_keeps_everything_that_longbench_says(tmp_path: Path) -> None:
    trec = row(1, dataset="trec", all_classes=["City", "Date"], answers=["City"], input="Question: where?\nType:")
    (example,) = read(tmp_path, trec, task="trec")
    assert vars(example) == {
        "example_id": "id001",
        "task": "trec",
        "question": "Question: where?\nType:",
        "context": "It rained. ",
        "answers": ("City",),
        "all_classes": ("City", "Date"),
        "language": "en",
        "source_length": 2,
        "source_sha256": hashlib.sha256(json.dumps(trec).encode()).hexdigest(),
    }


@pytest.mark.parametrize("question", ["question", "query", "input", "prompt"])
@pytest.mark.parametrize("context", ["context", "passage", "article", "document", "text"])
def test_questions_and_contexts_have_many_spellings(tmp_path: Path, question: str, context: str) -> None:
    (example,) = read(tmp_path, {question: "why?", context: "because", "answers": ["so"]})
    assert (example.question, example.context) == ("why?", "because")


@pytest.mark.parametrize("spelling", ["answers", "answer", "target", "output", "ground_truth"])
def test_answers_are_a_list_or_one_and_lose_the_white_space_around_them(tmp_path: Path, spelling: str) -> None:
    one, several, number = read(
        tmp_path,
        {"question": "a?", spelling: " yes\n"},
        {"question": "b?", spelling: ["  x ", "", " ", "y"]},
        {"question": "c?", spelling: [5]},
    )
    assert (one.answers, several.answers, number.answers) == (("yes",), ("x", "y"), ("5",))


def test_a_context_or_a_question_may_be_empty_but_not_both(tmp_path: Path) -> None:
    summary, bare = read(tmp_path, row(1, input=""), row(2, context=...))
    assert (summary.question, bare.context) == ("", "")
    assert "both empty" in refusal(written(tmp_path / "b.jsonl", [row(1, input=" ", context="")]))


def test_an_example_without_an_id_gets_the_same_one_in_every_reading(tmp_path: Path) -> None:
    rows = [row(number, _id=...) for number in (1, 2)]
    first, second = (each.example_id for each in read(tmp_path, *rows))
    assert [each.example_id for each in read(tmp_path / "other", *reversed(rows))] == [second, first]
    assert first.startswith("narrativeqa_")
    assert len(first) == len("narrativeqa_") + 16
    assert read(tmp_path, row(1, _id=" "))[0].example_id == first, "an empty id is none"
    assert read(tmp_path, row(1, _id=..., context="other"))[0].example_id != first
    several = [read(tmp_path, row(1, _id=..., answers=answers))[0].example_id for answers in (["a", "b"], ["b", "a"])]
    assert several[0] == several[1], "the order of the answers decides nothing"
    assert read(tmp_path, row(1, _id=..., id=17))[0].example_id == "17"


def test_a_line_that_is_there_twice_is_taken_once_and_that_is_said(tmp_path: Path) -> None:
    found = read_longbench(written(tmp_path / "a.jsonl", [*ROWS[:2], row(1, answers="rain 1"), row(2)]), TASK)
    assert len(found.examples) == 2
    assert found.remarks == ("lines that repeat another one, taken once: 2 (line 3 is line 1, line 4 is line 2)",)


def test_an_id_that_is_there_twice_with_other_content_is_refused(tmp_path: Path) -> None:
    said = refusal(written(tmp_path / "a.jsonl", [row(1), row(2), row(3, _id="id001", answers=["rain 1"])]))
    assert 'line 3: id "id001" is that of line 1 too, with other question, context, source_length' in said


def test_every_wrong_line_is_said_with_its_number_and_what_was_got(tmp_path: Path) -> None:
    content = [
        b"\xef\xbb\xbf" + lines([row(1)]).rstrip(),
        b'{"input": "x"',
        b"",
        b"[1, 2]",
        lines([row(2, answers=[])]).rstrip(),
        lines([row(3, answers=True)]).rstrip(),
        lines([row(4, input=...)]).rstrip(),
        lines([row(5, context=7, length="long", all_classes=[1])]).rstrip(),
        b'{"input": "caf\xe9", "answers": ["x"]}',
        b'{"input": "\\ud83d", "answers": ["x"]}',
        lines([row(6, _id=1.5)]).rstrip(),
        b"\r",
        lines([row(7, answers=...)]).rstrip(),
    ]
    said = refusal(written(tmp_path / "bad.jsonl", b"\n".join(content))).splitlines()
    assert said[0] == "bad.jsonl: 10 of 11 lines are wrong; nothing was taken"
    assert said[1].startswith("  line 2: no JSON: ")
    assert said[2] == "  line 4: got [1, 2], wanted an object with a question, a context and answers"
    assert said[3] == "  line 5: answers: got [], wanted at least one answer that is not empty"
    assert said[4] == "  line 6: answers: got true, wanted a text or a list of texts"
    assert said[5].startswith("  line 7: a question is missing: wanted one of question, query, input, prompt; it has ")
    assert [text.split(",")[0] for text in said[6:9]] == [
        "  line 8: all_classes: got [1]",
        "  line 8: context: got 7",
        '  line 8: length: got "long"',
    ]
    assert said[9:] == [
        "  line 9: byte 14 is no UTF-8; save the file as UTF-8",
        '  line 10: "\\ud83d" has half of a surrogate pair, which is no character',
        "  and 2 more",
    ]


def test_separators_of_unicode_do_not_end_a_line(tmp_path: Path) -> None:
    (example,) = read(tmp_path, row(1, context="one\u2028two\x85three"))
    assert example.context == "one\u2028two\x85three"


@pytest.mark.parametrize("bad", [b"[" * 100_000, b'{"a": ' + b"9" * 5_000 + b"}", b"\0\0"])
def test_json_that_no_reader_takes_is_a_wrong_line(tmp_path: Path, bad: bytes) -> None:
    assert "line 2: no JSON" in refusal(written(tmp_path / "a.jsonl", lines([row(1)]) + bad))


def test_lines_of_other_tasks_are_left_out_and_counted(tmp_path: Path) -> None:
    mixed = written(tmp_path / "all.jsonl", [row(1), row(2, dataset="trec"), row(3, dataset="narrativeqa_e")])
    found = read_longbench(mixed, TASK)
    assert [each.example_id for each in found.examples] == ["id001", "id003"]
    assert found.remarks == ("lines of other tasks, left out: 1, of trec (1)",)
    assert "no line is of task qasper; by their field dataset they are of narrativeqa (1)" in refusal(mixed, "qasper")


# Files, folders, archives


def test_a_task_is_found_in_every_kind_of_place_and_has_one_hash(tmp_path: Path) -> None:
    content = lines(ROWS)
    places = [
        written(tmp_path / "f" / f"{TASK}.jsonl", content),
        written(tmp_path / "flat" / f"{TASK}.jsonl", content).parent,
        written(tmp_path / "deep" / "data" / f"{TASK}.jsonl", content).parent.parent,
        written(tmp_path / "x.jsonl.gz", gzip.compress(content)),
        written(tmp_path / "gz" / f"{TASK}.jsonl.gz", gzip.compress(content)).parent,
    ]
    with zipfile.ZipFile(written(tmp_path / "hub" / "data.zip", b""), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"data/{TASK}.jsonl", content)
        archive.writestr(f"data/{TASK}_e.jsonl", lines([row(50)]))
        archive.writestr(f"__MACOSX/data/{TASK}.jsonl", b"\0")
    places += [tmp_path / "hub" / "data.zip", tmp_path / "hub"]
    found = [read_longbench(place, TASK) for place in places]
    assert {each.sha256 for each in found} == {hashlib.sha256(content).hexdigest()}
    assert all(each.examples == found[0].examples for each in found)
    assert [each.source for each in found][3:6] == ["x.jsonl.gz", f"{TASK}.jsonl.gz", f"data.zip/data/{TASK}.jsonl"]
    assert [each.example_id for each in read_longbench(places[-1], f"{TASK}_e").examples] == ["id050"]


def test_a_task_of_longbench_e_is_scored_like_its_namesake() -> None:
    assert [base_task(task) for task in ("trec_e", "trec")] == ["trec", "trec"]


def test_a_task_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    for name in ("narrativeqa", "trec", "trec_e"):
        written(tmp_path / "data" / f"{name}.jsonl", lines(ROWS))
    said = refusal(tmp_path, "narrativeQA")
    assert "there is no narrativeQA.jsonl; did you mean narrativeqa?\n  it has narrativeqa, trec, trec_e" in said
    assert "holds no file <task>.jsonl" in refusal(written(tmp_path / "e" / "README.md", b"").parent)


def test_a_task_that_is_there_twice_is_not_guessed(tmp_path: Path) -> None:
    written(tmp_path / f"{TASK}.jsonl", lines(ROWS))
    written(tmp_path / "data" / f"{TASK}.jsonl", lines(ROWS[:2]))
    assert f"task {TASK} is there 2 times" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"x", "ends in .jsonl, .jsonl.gz, .zip"),
        ("a.jsonl", b"\n \n", "the file has no lines"),
        ("a.jsonl.gz", b"no gzip", "it cannot be unpacked"),
        ("a.jsonl.gz", gzip.compress(lines(ROWS))[:-9], "it cannot be unpacked"),
        ("a.zip", b"no zip", "it cannot be unpacked"),
    ],
)
def test_files_that_hold_no_data_set_are_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    assert said in refusal(written(tmp_path / name, content))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "there is no such file or folder" in refusal(tmp_path / "none.jsonl")


@pytest.mark.parametrize("parts", [("long bench", ""), ("a/b", "t"), (" a", "t"), ("a", "t\n")])
def test_names_that_cannot_name_a_data_set_are_refused(parts: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="cannot name a data set"):
        dataset_id(*parts)


# The hub


class _Hub(http.server.BaseHTTPRequestHandler):
    """Serves one archive as the hub does."""

    content = b""

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        self._head()
        self.wfile.write(self.content)

    def _head(self) -> None:
        is_there = self.path.startswith("/datasets/THUDM/LongBench/resolve/main/data.zip")
        self.send_response(200 if is_there else 404)
        self.send_header("Content-Length", str(len(self.content) if is_there else 0))
        self.send_header("ETag", '"e1"')
        self.send_header("X-Repo-Commit", "a" * 40)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def hub(content: bytes) -> Iterator[str]:
    handler = type("Handler", (_Hub,), {"content": content})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


ASK = """
import sys
from groundlake.errors import LakeError
from groundlake.transition.data.longbench import hub_archive, read_longbench
for download in sys.argv[1:]:
    try:
        print(len(read_longbench(hub_archive(download=download == "yes"), "narrativeqa").examples))
    except LakeError as error:
        print(error.exit_code, str(error).splitlines()[0])
"""


def asked_of_hub(folder: Path, address: str, *downloads: str, offline: str = "0") -> list[str]:
    pytest.importorskip("huggingface_hub")
    settings = {"HF_HOME": str(folder), "HF_ENDPOINT": address, "HF_HUB_OFFLINE": offline, "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-W", "ignore", "-c", ASK, *downloads]
    ended = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True, timeout=60)
    return ended.stdout.splitlines()


def test_the_hub_is_asked_only_when_that_is_asked_for_and_once(tmp_path: Path) -> None:
    with zipfile.ZipFile(written(tmp_path / "data.zip", b""), "w") as archive:
        archive.writestr(f"data/{TASK}.jsonl", lines(ROWS))
    with hub((tmp_path / "data.zip").read_bytes()) as address:
        first, second, third = asked_of_hub(tmp_path / "cache", address, "no", "yes", "no")
    assert first.startswith("2 data.zip of THUDM/LongBench is not in the local cache")
    assert (second, third) == ("40", "40")


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_hub_that_does_not_give_the_archive_is_an_error_of_the_environment(tmp_path: Path, offline: str) -> None:
    with hub(b"") as address:
        (said,) = asked_of_hub(tmp_path, f"{address}/nothing/here", "yes", offline=offline)
    assert said.startswith(f"{LakeEnvironmentError.exit_code} data.zip of THUDM/LongBench cannot be downloaded: ")


# The manifest


def test_preparing_again_gives_the_same_bytes_from_another_folder_or_archive(tmp_path: Path) -> None:
    first = prepared(written(tmp_path / "a" / f"{TASK}.jsonl", ROWS))
    second = prepared(written(tmp_path / "b" / f"{TASK}.jsonl", ROWS))
    write_manifest(first, tmp_path / "one" / "manifest.json")
    write_manifest(second, tmp_path / "manifest.json")
    assert (tmp_path / "one" / "manifest.json").read_bytes() == (tmp_path / "manifest.json").read_bytes()
    assert str(tmp_path) not in (tmp_path / "manifest.json").read_text()


def test_a_manifest_is_read_back_as_it_was_with_all_that_is_asked(tmp_path: Path) -> None:
    manifest = prepared(written(tmp_path / f"{TASK}.jsonl", ROWS))
    write_manifest(manifest, tmp_path / "manifest.json")
    back = read_manifest(tmp_path / "manifest.json")
    assert back == manifest
    assert back.to_bytes() == (tmp_path / "manifest.json").read_bytes()
    assert json.loads(back.to_bytes())["manifest_sha256"] == manifest.manifest_sha256
    assert back.example(back.entries[0].example_id) in read_longbench(tmp_path / f"{TASK}.jsonl", TASK).examples
    assert [each.interval for each in bins_of(back)] == [each.interval for each in bins_of(manifest)]
    with pytest.raises(UsageError, match="no example none"):
        back.example("none")


def test_a_manifest_counts_population_and_selected_and_what_filters_left_out(tmp_path: Path) -> None:
    manifest = prepared(written(tmp_path / f"{TASK}.jsonl", ROWS))
    assert sum(each.population for each in manifest.bins) + manifest.dropped["max_prompt_tokens"] == 40
    assert [each.selected for each in manifest.bins] == [2, 2, 2]
    assert (manifest.dataset_id, manifest.source.n_examples) == ("longbench__narrativeqa", 40)
    assert manifest.tokenizer.name == "words (approximation)"


def test_preparing_with_fewer_bins_leaves_nothing_of_the_old_manifest(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    manifest = prepared(written(tmp_path / f"{TASK}.jsonl", ROWS))
    write_manifest(manifest, path)
    smaller = prepared(written(tmp_path / f"{TASK}.jsonl", ROWS[:2]))
    write_manifest(smaller, path)
    assert read_manifest(path) == smaller
    assert [(each.population, each.selected) for each in smaller.bins] == [(1, 1), (1, 1), (0, 0)]
    assert "1 of 3 bins are empty (2): the examples have only 2 different lengths" in smaller.remarks


def test_a_manifest_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_manifest(prepared(written(tmp_path / f"{TASK}.jsonl", ROWS)), path)
    path.write_text(path.read_text().replace("rain", "snow", 1))
    with pytest.raises(UsageError, match="it was changed"):
        read_manifest(path)


def add_example(data: dict[str, Any]) -> None:
    data["examples"].append(data["examples"][0] | {"example_id": "more"})


def drop_example(data: dict[str, Any]) -> None:
    data["examples"].pop()


def change_context(data: dict[str, Any]) -> None:
    data["examples"][0]["context"] = "It snowed."


def move_entry(data: dict[str, Any]) -> None:
    data["entries"][0]["bin_index"] = 2


def repeat_entry(data: dict[str, Any]) -> None:
    data["entries"].append(data["entries"][0])


def lengthen_entry(data: dict[str, Any]) -> None:
    data["entries"][0]["tokens"] = 10**6


def change_task(data: dict[str, Any]) -> None:
    data["task"] = "trec"


def spell_number(data: dict[str, Any]) -> None:
    data["bins"][0]["low"] = "1"


def add_key(data: dict[str, Any]) -> None:
    data["more"] = 1


def swap_examples(data: dict[str, Any]) -> None:
    data["examples"].reverse()


def swap_bins(data: dict[str, Any]) -> None:
    data["bins"].reverse()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add_example, "example more is of no entry"),
        (drop_example, "has no example"),
        (change_context, "has another content than its entry says"),
        (move_entry, "which is bin 0, not 2"),
        (repeat_entry, "is there 2 times"),
        (lengthen_entry, "1000000 tokens are in none of the bins"),
        (change_task, "is of task narrativeqa, not of trec"),
        (spell_number, r"bins\.0\.low: Input should be a valid integer"),
        (add_key, "more: Extra inputs are not permitted"),
        (swap_examples, "not in the order of the entries"),
        (swap_bins, "not numbered from 0 up"),
    ],
)
def test_parts_that_contradict_each_other_are_refused_though_the_hash_is_right(
    tmp_path: Path, change: Any, said: str
) -> None:
    data = json.loads(prepared(written(tmp_path / f"{TASK}.jsonl", ROWS)).to_bytes())
    del data["manifest_sha256"]
    change(data)
    text = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    data["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path = written(tmp_path / "manifest.json", json.dumps(data).encode())
    with pytest.raises(UsageError, match=said):
        read_manifest(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[]", "a manifest is an object, got a list"),
        (b'{"schema_version": 2}', "schema_version 2; this program reads 1"),
        (b'{"schema_version": 1}', "it was changed"),
    ],
)
def test_files_that_are_no_manifest_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_manifest(written(tmp_path / "manifest.json", content))


def test_a_manifest_that_is_not_there_says_which_step_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="prepare the data set first"):
        read_manifest(tmp_path / "manifest.json")


def test_a_manifest_that_contradicts_itself_is_not_written(tmp_path: Path) -> None:
    manifest = prepared(written(tmp_path / f"{TASK}.jsonl", ROWS))
    with pytest.raises(UsageError, match="has no example"):
        write_manifest(manifest.model_copy(update={"examples": manifest.examples[1:]}), tmp_path / "manifest.json")
    assert not (tmp_path / "manifest.json").exists()


def test_a_folder_that_cannot_be_written_is_an_error_of_the_environment(tmp_path: Path) -> None:
    manifest = prepared(written(tmp_path / f"{TASK}.jsonl", ROWS))
    with pytest.raises(LakeEnvironmentError):
        write_manifest(manifest, tmp_path / f"{TASK}.jsonl" / "manifest.json")

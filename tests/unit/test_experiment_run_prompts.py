"""Files of prompts: what they may hold, how many are taken, and what is said of a bad one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from groundlake.errors import UsageError
from groundlake.experiment.prompts import read_prompts

if TYPE_CHECKING:
    from pathlib import Path


def written(folder: Path, name: str, text: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_a_text_file_has_a_prompt_in_each_line_that_is_not_empty(tmp_path: Path) -> None:
    read = read_prompts(written(tmp_path, "p.txt", "first\r\n\n  second, indented\n \nthird"))
    assert read.items == ("first", "  second, indented", "third")
    assert (read.name, read.remark) == ("p.txt", None)


def test_prompts_that_are_left_over_and_those_asked_again_are_known(tmp_path: Path) -> None:
    file = written(tmp_path, "p.txt", "a\nb\na\nc")
    assert (read_prompts(file, 2).spare, read_prompts(file, 2).num_repeated) == (("c",), 0)
    assert (read_prompts(file, 4).spare, read_prompts(file, 4).num_repeated) == ((), 1)
    assert read_prompts(file, 9).num_repeated == 6


def test_json_lines_are_texts_or_objects_with_a_prompt_a_text_or_messages(tmp_path: Path) -> None:
    lines = ['"plain"', '{"prompt": "named", "id": 7}', "", '{"text": "também"}']
    lines.append('{"messages": [{"role": "user", "content": "hi"}]}')
    read = read_prompts(written(tmp_path, "p.jsonl", "\n".join(lines)))
    assert read.items == ("plain", "named", "também", ({"role": "user", "content": "hi"},))
    assert read.is_chat


def test_a_json_file_is_a_list_of_the_same(tmp_path: Path) -> None:
    read = read_prompts(written(tmp_path, "p.json", '["one", {"prompt": "two"}]'))
    assert read.items == ("one", "two")
    assert not read.is_chat


def test_the_list_is_cut_or_begun_again_and_that_is_said(tmp_path: Path) -> None:
    file = written(tmp_path, "p.txt", "a\nb\nc\n")
    cut, repeated = read_prompts(file, 2), read_prompts(file, 7)
    assert (cut.items, cut.remark) == (("a", "b"), "p.txt has 3 prompts; the first 2 are taken (--n)")
    assert "".join(map(str, repeated.items)) == "abcabca"
    assert repeated.remark == "p.txt has 3 prompts; they are repeated to make 7 (--n)"
    assert read_prompts(file, 3).remark is None


def test_equal_prompts_have_one_hash_whatever_their_file(tmp_path: Path) -> None:
    text, lines = written(tmp_path, "a.txt", "x\ny\n"), written(tmp_path, "b.jsonl", '"x"\n{"text": "y"}\n')
    assert read_prompts(text).sha256 == read_prompts(lines).sha256
    assert read_prompts(text).sha256 != read_prompts(text, 1).sha256


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.csv", "a", "ends in .txt, .jsonl, .json"),
        ("p.txt", "\n \n", "holds no prompts"),
        ("p.json", "[]", "holds no prompts"),
        ("p.txt", b"caf\xe9\n", "byte 3 is no UTF-8"),
        ("p.jsonl", '"a"\n{"prompt": \n', "line 2: no JSON"),
        ("p.jsonl", '"a"\n\n5\n', "line 3: got 5"),
        (
            "p.jsonl",
            '{"question": "a", "answer": "b"}',
            "line 1: one of prompt, text, messages is wanted, got question",
        ),
        ("p.jsonl", '{"prompt": "a", "text": "b"}', "got prompt and text"),
        ("p.jsonl", '{"prompt": null}', "line 1: got null"),
        ("p.jsonl", '"  "', "line 1: the prompt is empty"),
        ("p.jsonl", '{"messages": []}', "messages are a list of"),
        ("p.jsonl", '{"messages": [{"role": "user"}]}', "each of both a text"),
        ("p.json", '{"prompt": "a"}', "holds a list of prompts"),
        ("p.json", '["a",\n oops]', "line 2: no JSON"),
        ("p.json", '["a", ["b"]]', "prompt 2: got"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_prompts(written(tmp_path, name, content))


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        read_prompts(tmp_path / "p.txt")
    (tmp_path / "d.txt").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        read_prompts(tmp_path / "d.txt")
    with pytest.raises(UsageError, match="--n must be at least 1"):
        read_prompts(written(tmp_path, "p.txt", "a"), 0)

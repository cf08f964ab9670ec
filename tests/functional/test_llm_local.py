"""A causal language model in this process: real transformers, a real small model made on the spot."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch

from groundlake.errors import MissingDependencyError, UsageError
from groundlake.llm import Decoding, Generation, tiny
from groundlake.llm.facts import parameters_at_work
from groundlake.llm.loading import import_transformers, quietly
from groundlake.llm.local import LocalModel
from groundlake.llm.tiny import make_tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROMPTS = ["hello", "a much longer prompt than the first one", "x"]
LONG = Decoding(max_new_tokens=12, ignore_eos=True)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """So small a model is quicker so, above all where other tests run beside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", vocabulary=["lake", "ground"])


@pytest.fixture(scope="module")
def model(folder: Path) -> LocalModel:
    return LocalModel.load(folder)


@pytest.fixture
def changed(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the model with other settings."""

    def change(file: str = "config.json", **settings: object) -> Path:
        copy = tmp_path / "changed"
        if not copy.exists():
            shutil.copytree(folder, copy)
        said = json.loads((copy / file).read_text())
        (copy / file).write_text(json.dumps(said | settings))
        return copy

    return change


def tokens_of(model: LocalModel, prompt: str) -> list[int]:
    """The tokens that the model itself, asked step by step, goes on with."""
    ids = torch.tensor([model.tokenizer(prompt)["input_ids"]])
    for _ in range(LONG.max_new_tokens):
        with torch.inference_mode():
            best = model.model(input_ids=ids).logits[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, best], dim=1)
    return ids[0, -LONG.max_new_tokens :].tolist()


def test_a_batch_says_what_the_model_says_to_each_prompt_alone(model: LocalModel) -> None:
    generations = model.generate(PROMPTS, LONG)
    for prompt, generation in zip(PROMPTS, generations, strict=True):
        assert generation.text == model.tokenizer.decode(tokens_of(model, prompt), skip_special_tokens=True)
        assert generation.text == model.generate([prompt], LONG)[0].text
    assert len({generation.text for generation in generations}) == 3


def test_each_token_of_each_prompt_is_timed_when_it_is_there(model: LocalModel) -> None:
    for generation in model.generate(PROMPTS, LONG):
        moments = [generation.sent_s, *generation.arrivals_s, generation.finished_s]
        assert len(generation.arrivals_s) == generation.output_tokens == 12
        assert all(before < after for before, after in pairwise(moments))
        assert (generation.token_timing, generation.tokens_counted_by) == ("streaming", "tokenizer")
        assert (generation.ok, generation.finish_reason) == (True, "length")


def test_padding_is_no_token_of_a_prompt(model: LocalModel) -> None:
    lengths = [generation.input_tokens for generation in model.generate([*PROMPTS, "lake"], LONG)]
    assert lengths == [1 + len("hello"), 1 + len(PROMPTS[1]), 2, 2], "a byte each, a word of its own, and the beginning"


def test_each_answer_ends_with_its_own_last_token(model: LocalModel, changed: Callable[..., Path]) -> None:
    said = [tokens_of(model, prompt) for prompt in PROMPTS]
    end = next(token for token in said[0][2:] if token not in said[0][:2])
    ending = LocalModel.load(changed("generation_config.json", eos_token_id=[end, 1]))
    generations = ending.generate(PROMPTS, Decoding(max_new_tokens=12))
    lengths = [min([row.index(token) + 1 for token in (end, 1) if token in row], default=12) for row in said]
    assert lengths[0] < 12
    assert len(set(lengths)) > 1, "they end at different steps"
    assert [generation.output_tokens for generation in generations] == lengths
    assert [len(generation.arrivals_s) for generation in generations] == lengths
    assert [generation.finish_reason for generation in generations] == [
        "stop" if length < 12 or row[-1] in (end, 1) else "length" for length, row in zip(lengths, said, strict=True)
    ]
    assert len({generation.finished_s for generation in generations}) == 1, "a batch is done when its last answer is"
    assert [g.output_tokens for g in ending.generate(PROMPTS, LONG)] == [12] * 3


def test_an_answer_that_is_over_with_its_first_token_is_one_without_a_text(model: LocalModel) -> None:
    first = model.tokenizer.decode(tokens_of(model, PROMPTS[0])[:1])
    (over,) = model.generate(PROMPTS[:1], Decoding(max_new_tokens=12, stop=(first,)))
    assert (over.ok, over.text, over.output_tokens, over.finish_reason) == (True, "", 1, "stop")
    assert len(over.arrivals_s) == 1


def test_a_text_that_ends_an_answer_is_no_part_of_it(model: LocalModel) -> None:
    whole = model.generate(["hello"], LONG)[0].text
    stop = next(character for character in whole[2:] if character not in whole[:2] and character.isprintable())
    stopped, other = model.generate(["hello", "x"], Decoding(max_new_tokens=12, ignore_eos=True, stop=(stop,)))
    assert stopped.text == whole[: whole.index(stop)]
    assert (stopped.finish_reason, len(stopped.arrivals_s)) == ("stop", stopped.output_tokens)
    assert stopped.output_tokens < 12
    assert stop not in other.text


def test_a_prompt_that_does_not_fit_fails_alone(model: LocalModel) -> None:
    fits, too_long, also_fits = model.generate(["hello", "x" * 244, "x" * 243], LONG)
    assert (fits.ok, also_fits.ok, also_fits.output_tokens) == (True, True, 12), "256 tokens in all are just right"
    assert (too_long.error.code, too_long.input_tokens, too_long.arrivals_s) == ("context_length", 245, ())
    assert "257 are more than the 256" in too_long.error.message
    assert fits.text == model.generate(["hello"], LONG)[0].text


def test_a_batch_in_which_nothing_fits_runs_nothing(model: LocalModel) -> None:
    assert [generation.error.code for generation in model.generate(["x" * 300], LONG)] == ["context_length"]
    assert model.generate([], LONG) == []


def test_a_prompt_without_tokens_fails_alone(changed: Callable[..., Path]) -> None:
    model = LocalModel.load(changed("tokenizer.json", post_processor=None))
    empty, fits = model.generate(["", "x"], LONG)
    assert (empty.error.code, fits.ok, fits.input_tokens) == ("empty_prompt", True, 1)


def test_a_seed_gives_the_same_draws_and_leaves_those_of_the_program_alone(model: LocalModel) -> None:
    def text(seed: int) -> str:
        return model.generate(["hello"], Decoding(max_new_tokens=12, temperature=1.5, seed=seed, ignore_eos=True))[
            0
        ].text

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = text(1)
    assert torch.equal(torch.rand(1), expected)
    assert text(1) == first
    assert text(2) != first


def test_settings_beside_the_weights_do_not_change_what_is_asked(
    model: LocalModel, changed: Callable[..., Path]
) -> None:
    folder = changed("generation_config.json", do_sample=True, temperature=5.0, repetition_penalty=3.0, num_beams=3)
    assert LocalModel.load(folder).generate(["hello"], LONG)[0].text == model.generate(["hello"], LONG)[0].text


def test_memory_that_does_not_suffice_is_a_failure_of_the_batch(
    model: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(model.model, "generate", full)  # no test can fill the memory of a GPU that is not there
    generations = model.generate(["a", "x" * 300], LONG)
    assert [generation.error.code for generation in generations] == ["out_of_memory", "context_length"]
    assert "Tried to allocate 2 GiB" in generations[0].error.message


TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}:{% endif %}"


def test_a_template_is_used_where_a_conversation_is_asked_for_only(changed: Callable[..., Path]) -> None:
    folder = changed("tokenizer_config.json", chat_template=TEMPLATE)
    conversation, plain = LocalModel.load(folder, chat=True), LocalModel.load(folder)
    filled = "[user]hello:"
    answers = conversation.generate(["hello", [{"role": "user", "content": "hello"}]], LONG)
    assert [answer.input_tokens for answer in answers] == [len(filled)] * 2, "the template adds no beginning"
    assert answers[0].text == answers[1].text
    assert plain.generate(["hello"], LONG)[0].input_tokens == 1 + len("hello")
    with pytest.raises(UsageError, match="chat=True"):
        plain.generate([[{"role": "user", "content": "hello"}]], LONG)


def test_a_model_without_a_template_holds_no_conversation(folder: Path) -> None:
    with pytest.raises(UsageError, match="no template of a conversation"):
        LocalModel.load(folder, chat=True)


def test_a_model_says_what_it_is(model: LocalModel, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary, width = 256 + 3 + 2, 32
    layer = 4 * width**2 + 3 * width * 2 * width + 2 * width
    assert model.num_parameters == 2 * vocabulary * width + 2 * layer + width
    assert model.non_embedding_parameters == model.num_parameters - vocabulary * width
    assert (model.name, model.precision, model.device, model.context_length) == ("tiny", "fp32", "cpu", 256)
    assert model.model_memory_bytes >= 4 * model.num_parameters
    assert model.peak_memory_bytes() is None
    model.reset_peak()
    assert model.versions["torch"] == torch.__version__
    assert {"transformers", "tokenizers"} <= model.versions.keys()
    monkeypatch.chdir(folder)
    assert LocalModel.load(".").name == "tiny"


def test_an_output_layer_that_shares_its_weights_is_at_work_and_tables_are_not() -> None:
    transformers = import_transformers()
    config = transformers.GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    with quietly():
        gpt2 = transformers.GPT2LMHeadModel(config)
    everything = sum(parameter.numel() for parameter in gpt2.parameters())
    assert parameters_at_work(gpt2) == everything - 16 * 8, "positions are looked up; tokens multiply at the end"


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_weights_are_what_was_asked_for_and_stay_as_they_were_saved_otherwise(
    folder: Path, tmp_path: Path, dtype: str
) -> None:
    model = LocalModel.load(folder, dtype=dtype)
    assert model.precision == dtype
    assert model.generate(["hello"], LONG)[0].output_tokens == 12
    with quietly():
        model.model.save_pretrained(tmp_path)
        model.tokenizer.save_pretrained(tmp_path)
    assert LocalModel.load(tmp_path).precision == dtype


def test_a_type_that_the_device_does_not_run_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Half'")  # what older versions of torch say

    monkeypatch.setattr(torch.nn.Linear, "forward", refuse)
    with pytest.raises(MissingDependencyError, match="fp16 does not run on cpu") as raised:
        LocalModel.load(folder, dtype="fp16")
    assert "not implemented for 'Half'" in str(raised.value)


def without(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def of_kind(kind: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_type": kind, "architectures": None}))

    return change


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without("config.json"), "no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "not a valid JSON"),
        (without("tokenizer.json", "tokenizer_config.json"), "no tokenizer"),
        (without("model.safetensors"), "no file named model.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"123"), "weights are broken"),
        (of_kind("t5"), "no causal language model, but one of T5Config"),
        (of_kind("bert"), "no weights of a causal language model .bert.*would be random"),
        (of_kind("nonsense"), "does not recognize"),
    ],
)
def test_a_folder_that_holds_no_such_model_is_refused_in_words(
    folder: Path, tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoiled = shutil.copytree(folder, tmp_path / "spoiled")
    spoil(spoiled)
    with pytest.raises(UsageError, match=f"(?is){words}") as raised:
        LocalModel.load(spoiled)
    assert len(str(raised.value).splitlines()) <= 6


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/no/such/folder", "no such folder"),
        ("./nor/this", "no such folder"),
        ("someone/a-model-nobody-has", "no such folder, and no .* in the local cache"),
        ("", "give a folder or a name"),
    ],
)
def test_a_model_that_is_not_there_is_refused_without_asking_the_network(path: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        LocalModel.load(path)


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"device": "tpu"}, UsageError, "must be cpu, cuda or cuda:N"),
        ({"device": "cuda:99"}, MissingDependencyError, "cuda:99"),
        ({"dtype": "int3"}, UsageError, "dtype must be"),
    ],
)
def test_what_no_machine_has_is_refused(folder: Path, settings: dict, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        LocalModel.load(folder, **settings)


def test_nothing_is_printed(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = LocalModel.load(folder)
    model.generate(["a", "bc", "x" * 300], Decoding(max_new_tokens=3, temperature=1.0))
    assert capfd.readouterr() == ("", "")


def test_transformers_may_say_what_it_does_where_that_is_wanted(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    LocalModel.load(folder, quiet=False)
    assert "Loading weights" in capfd.readouterr().err


def test_the_same_seed_makes_the_same_weights(folder: Path, tmp_path: Path) -> None:
    def weights(name: str, **settings: object) -> bytes:
        return (make_tiny_model(tmp_path / name, **settings) / "model.safetensors").read_bytes()

    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    first = weights("first", vocabulary=["lake", "ground"])
    assert torch.equal(torch.rand(1), expected)
    assert first == (folder / "model.safetensors").read_bytes()
    assert weights("other", seed=1, vocabulary=["lake", "ground"]) != first
    assert len(first) < 500_000


def test_every_text_has_tokens_that_give_it_back(folder: Path, model: LocalModel) -> None:
    for text in ("héllo, wörld\n", "日本 🦊", "a lake on the ground"):
        assert model.tokenizer.decode(model.tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert model.tokenizer.get_vocab()["lake"] == 259
    assert (folder / "model.safetensors").stat().st_mode == (folder / "config.json").stat().st_mode


@pytest.mark.parametrize("width", [0, 4, 12])
def test_a_width_that_heads_do_not_divide_is_refused(tmp_path: Path, width: int) -> None:
    with pytest.raises(UsageError, match="hidden_size"):
        make_tiny_model(tmp_path, hidden_size=width)


def test_a_small_model_is_made_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert tiny._main(["small", "7"]) == 0  # a process of its own would only load torch once more
    assert capfd.readouterr() == ("small\n", "")
    assert isinstance(LocalModel.load(tmp_path / "small").generate(["hello"], LONG)[0], Generation)
    for arguments in ([], ["a", "b"]):
        command = [sys.executable, "-m", "groundlake.llm.tiny", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (2, "usage: python -m groundlake.llm.tiny FOLDER [SEED]\n")


def test_a_model_that_is_there_is_not_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs, made = tmp_path / "theirs", tmp_path / "made"
    theirs.mkdir()
    (theirs / "model.safetensors").write_bytes(b"weeks of training")
    assert tiny._main([str(theirs)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {theirs}: has model.safetensors with other content, which would be lost")
    assert "give another folder" in said
    assert [path.name for path in theirs.iterdir()] == ["model.safetensors"]
    assert (theirs / "model.safetensors").read_bytes() == b"weeks of training"

    assert [tiny._main([str(made)]) for _ in range(2)] == [0, 0], "its own files may be made again"
    first = (made / "model.safetensors").read_bytes()
    assert tiny._main([str(made), "1"]) == 2
    assert (made / "model.safetensors").read_bytes() == first


def test_a_model_in_a_place_that_cannot_be_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert tiny._main([str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'file'}: is a file, and a folder is wanted")
    assert tiny._main(["/proc/x/y"]) == 5
    assert capsys.readouterr().err.startswith("error: cannot write /proc/x")


def test_missing_packages_are_named_with_what_to_install(folder: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from groundlake.errors import MissingDependencyError\n"
        "from groundlake.llm.local import LocalModel\n"
        f"try: LocalModel.load({str(folder)!r})\n"
        "except MissingDependencyError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'groundlake[measure,transformers]'" in done.stdout

"""Files of settings: the packaged profiles, what is merged over what, variables, `.env`, and what messages say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from groundlake.errors import UsageError
from groundlake.transition.configuration.config_file import CONFIGS, DEFAULT, load_settings, profiles
from groundlake.transition.configuration.projections import PROJECTIONS
from groundlake.transition.configuration.variables import read_env, sounds_secret

if TYPE_CHECKING:
    from groundlake.transition.configuration.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
ENDPOINT = "dataset: {task: trec, path: data}\nmodel: {name: m}\n"
KEY = "sk-0123456789abcdef"
PROFILED = {"MODEL_NAME": "org/model", "MAX_MODEL_LEN": "8192"}
"""Variables that profiles ask for."""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str, *overrides: str, folder: Path = Path(), **environment: str) -> Settings:
    file = folder / "mine.yaml"
    file.write_text(text)
    return load_settings(file, overrides, environment)


def refusal(text: str, *overrides: str, **environment: str) -> str:
    with pytest.raises(UsageError) as told:
        load(text, *overrides, **environment)
    return str(told.value)


@pytest.mark.parametrize("name", [name for name, _ in profiles() if name != DEFAULT])
def test_every_profile_is_right_and_read_again_from_what_it_resolves_to(name: str, tmp_path: Path) -> None:
    made = load_settings(name, environment=PROFILED)
    (tmp_path / "again.yaml").write_text(made.to_yaml())
    again = load_settings(tmp_path / "again.yaml", environment={})
    assert again.resolved() == made.resolved()
    assert [again.settings_hash(stage) for stage in PROJECTIONS] == [made.settings_hash(stage) for stage in PROJECTIONS]


def test_profiles_are_listed_with_what_they_are_for() -> None:
    listed = profiles()
    assert [name for name, _ in listed] == [DEFAULT, "narrative", "sanity", "structured", "submission"]
    assert all(text.endswith(".") and len(text) > 20 for _, text in listed)


def test_the_profiles_are_those_of_the_document() -> None:
    sanity, submission = (load_settings(name, environment=PROFILED) for name in ("sanity", "submission"))
    assert (len(sanity.dataset.pinned_example_ids), sanity.dataset.sanity_slices, sanity.binning.n_bins) == (10, (), 2)
    assert sanity.kv.budgets == (1.0, 0.2)
    assert (submission.dataset.task, submission.binning.n_bins, submission.dataset.n_per_bin) == ("narrativeqa", 5, 2)
    assert submission.kv.budgets == (1.0, 0.5, 0.2)
    assert submission.dataset_id == "longbench__narrativeqa"


def test_prompts_are_cut_only_where_it_is_known_what_the_model_takes() -> None:
    said = refusal(ENDPOINT + "run: {truncation: middle}\n")
    assert "run.truncation: middle cuts prompts that are longer than model.max_model_len" in said
    assert load(ENDPOINT + "run: {truncation: middle}\n", "model.max_model_len=4096").run.truncation == "middle"


def test_a_file_is_a_group_of_its_own_whatever_it_extends(tmp_path: Path) -> None:
    assert load("extends: sanity\n").output.exp_group_id == "mine"
    assert load("extends: sanity\noutput: {exp_group_id: chosen}\n").output.exp_group_id == "chosen"
    assert load("extends: sanity\n", "output.exp_group_id=told").output.exp_group_id == "told"
    assert load_settings("sanity").output.exp_group_id == "sanity"
    (tmp_path / "base.yaml").write_text("extends: sanity\noutput: {exp_group_id: base, folder: there}\n")
    extended = load("extends: base.yaml\n", folder=tmp_path).output
    assert (extended.exp_group_id, Path(extended.folder).name) == ("mine", "there")


def test_the_default_profile_lists_every_key() -> None:
    listed = yaml.safe_load((CONFIGS / "default.yaml").read_text())
    whole = load_settings(DEFAULT, ["dataset.task=trec"], {"MODEL_NAME": "m"}).resolved()

    def keys(tree: object) -> object:
        return {key: keys(each) for key, each in tree.items()} if isinstance(tree, dict) else None

    assert keys(listed) == keys(whole)


def test_an_override_of_a_whole_number_is_one() -> None:
    made = load(ENDPOINT, "dataset.n_per_bin=10", "kv.evidence=none", "dataset.pinned_example_ids=[1, b]")
    assert made.dataset.n_per_bin == 10
    assert made.dataset.pinned_example_ids == ("1", "b")


def test_mappings_are_merged_and_lists_replaced() -> None:
    text = (
        ENDPOINT
        + "run: {retries: {max_attempts: 9}}\nkv: {policy: snapkv, apply: extra_body, extra_body: {k: '${budget}'},"
    )
    made = load(text + " budgets: [1.0, 0.5, 0.2]}\n", "kv.budgets=[1.0, 0.1]")
    assert (made.run.retries.max_attempts, made.run.retries.cap_s) == (9, 30.0)
    assert made.kv.budgets == (1.0, 0.1)


def test_a_file_extends_a_file_beside_it_and_paths_are_relative_to_the_file_they_stand_in(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "base.yaml").write_text(ENDPOINT + "decoding: {max_tokens: 7}\n")
    made = load("extends: team/base.yaml\nmodel: {name: other}\n")
    assert (made.decoding.max_tokens, made.model.name, made.output.exp_group_id) == (7, "other", "mine")
    assert made.dataset.path == str(tmp_path / "team" / "data")
    assert "extends itself" in refusal("extends: mine.yaml\n")


def test_a_path_into_the_package_is_read_again_from_what_messages_show() -> None:
    sanity = load_settings("sanity", environment={})
    assert sanity.projection("prepare")["tokenizer_source"] == "groundlake:transition/recall/model"
    model = "groundlake:transition/recall/model"
    text = f"dataset: {{path: 'groundlake:transition/recall/data/kv_recall.jsonl'}}\ntokenizer: {{path: {model!r}}}\n"
    made = load(f"extends: sanity\nmodel: {{name: groundlake-recall, path: {model!r}}}\n{text}")
    assert (made.model, made.tokenizer) == (sanity.model, sanity.tokenizer)
    assert made.dataset.path == str(Path(str(sanity.dataset.path)) / "kv_recall.jsonl")
    assert made.settings_hash("run") == sanity.settings_hash("run")
    for wrong in ("transition/recal/model", "transition/recall/model/../../../../..", "cli", ""):
        told = refusal("extends: sanity\n", f"model.path=groundlake:{wrong}")
        assert told.startswith(f"mine.yaml: model.path: got 'groundlake:{wrong}'; the package has groundlake:trans"), (
            told
        )
        assert told.endswith(
            "and groundlake:transition/recall/model; any other path is written without groundlake: (--override)"
        )


def test_another_engine_does_not_inherit_the_keys_of_the_first() -> None:
    text = "extends: sanity\nengine: {type: openai, base_url: http://127.0.0.1:9}\nmodel: {name: served}\n"
    text += "tokenizer: {name: words}\n"
    made = load(text, "kv.policy=none", "kv.budgets=[1.0]")
    assert (made.engine.device, made.engine.dtype, made.model.path, made.kv.parameters) == (None, None, None, {})
    local = load(ENDPOINT + "tokenizer: {name: null}\nengine: {type: transformers}\n", "kv.policy=snapkv")
    assert (local.engine.base_url, local.engine.api_key_env, local.engine.concurrency) == (None, None, 1)
    lacking = refusal(
        "extends: sanity\nengine: {type: openai}\nmodel: {name: m}\ntokenizer: {name: words}\n",
        *("kv.policy=none", "kv.budgets=[1.0]"),
    )
    assert lacking == "mine.yaml: engine.base_url: missing; give the address of the endpoint"


def test_a_key_that_stands_for_another_replaces_it() -> None:
    slices = "dataset.sanity_slices=[{name: short, n: 3, min_tokens: 0, max_tokens: 99}]"
    made = load_settings("sanity", [slices, "tokenizer.name=words"], {})
    assert made.dataset.pinned_example_ids == ()
    assert (made.tokenizer.name, made.tokenizer.path) == ("words", None)


def test_another_local_model_counts_with_its_own_tokenizer_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    other = load("extends: sanity\nmodel: {path: other}\n")
    assert (other.tokenizer.path, other.tokenizer.name, other.model.name) == (None, None, None)
    assert other.tokenizer_source == other.model.path == str(tmp_path / "other")
    for told in (("model.path=other",), ("model.path=other", "model.name=other")):
        assert load("extends: sanity\n", *told).tokenizer_source == str(tmp_path / "other")
    kept = load("extends: sanity\nmodel: {path: other}\ntokenizer: {name: words}\n")
    assert kept.tokenizer_source == "words"
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "base.yaml").write_text("extends: sanity\nmodel: {path: m}\ntokenizer: {path: t}\n")
    same = load("extends: team/base.yaml\nmodel: {name: called, path: team/m}\n")
    assert same.tokenizer.path == str(tmp_path / "team" / "t")
    assert load("extends: team/base.yaml\nmodel: {path: m}\n").tokenizer_source == str(tmp_path / "m")


def test_a_named_model_in_place_of_a_local_one_does_not_inherit_its_tokenizer() -> None:
    assert load("extends: sanity\nmodel: {name: org/model}\n").tokenizer_source == "org/model"
    served = "extends: sanity\nengine: {type: openai, base_url: http://127.0.0.1:9}\nmodel: {name: m}\n"
    said = refusal(served, "kv.policy=none", "kv.budgets=[1.0]")
    assert said.startswith("mine.yaml: tokenizer.name: missing; give a tokenizer, or words")
    assert load(ENDPOINT, "model.name=other").tokenizer_source == "words"


def test_variables_have_the_type_of_their_key_and_the_environment_counts_before_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("export N=4 # four\nMODEL='a # b'\nBOTH=file\n")
    text = "dataset: {task: '${BOTH}', path: '${WHERE:-data}', n_per_bin: '${N}'}\nmodel: {name: '${MODEL}'}\n"
    made = load(text + "decoding: {temperature: '${T:-1e-1}'}\n", BOTH="qasper", WHERE="")
    assert (made.dataset.n_per_bin, made.model.name, made.decoding.temperature) == (4, "a # b", 0.1)
    assert made.dataset.task == "qasper"
    assert made.dataset.path == str(tmp_path / "data")


def test_a_missing_variable_is_told_with_its_key_only_where_it_is_used() -> None:
    told = refusal("dataset: {task: trec, n_per_bin: '${HOW_MANY}'}\nbinning: {n_bins: 0}\n")
    lines = told.splitlines()
    assert "dataset.n_per_bin: the variable HOW_MANY is not set" in lines[1]
    assert "model.name: the variable MODEL_NAME is not set" in lines[2]
    assert lines[2].endswith("(default.yaml)")
    assert lines[3].strip() == "binning.n_bins: got 0, wanted at least 1"
    assert len(lines) == 4
    assert (
        load("dataset: {task: trec, n_per_bin: '${HOW_MANY}'}\n", "dataset.n_per_bin=1", "model.name=m").model.name
        == "m"
    )
    assert "is empty" in refusal("dataset: {task: '${T}'}\nmodel: {name: m}\n", T="")
    assert "write $${" in refusal("dataset: {task: trec}\nmodel: {name: '${a b}'}\n")
    assert load("dataset: {task: trec}\nmodel: {name: '$${a}'}\n").model.name == "${a}"


def test_an_unknown_key_is_named_before_variables_below_it_are_missed() -> None:
    text = ENDPOINT + "kv: {policy: snapkv, budgets: [1.0, 0.5], apply: extra_body, extra_bdy: {x: '${budget}'}}\n"
    assert refusal(text).splitlines()[1:] == [
        "  kv.extra_bdy: no such key; did you mean extra_body?",
        "  kv.extra_body: the budget is nowhere in it; write ${budget} or ${removed}",
    ]
    assert refusal(ENDPOINT + "modle: {name: '${NAME}'}\n") == "mine.yaml: modle: no such key; did you mean model?"
    told = refusal(ENDPOINT + "run: {retries: {max_atempts: '${N}'}}\n")
    assert told == "mine.yaml: run.retries.max_atempts: no such key; did you mean max_attempts?"
    assert "got {'a': '${N}'}" in refusal(ENDPOINT, "decoding.max_tokens={a: '${N}'}")


def test_every_wrong_key_is_in_one_message_of_six_lines() -> None:
    wrong = "dataset: {task: 1, n_per_bin: x, sed: 3}\nkv: {budgets: [2.0, 0.5]}\nmodle: {}\n"
    wrong += "run: {retries: {max_attempts: 0}}\n"
    lines = refusal(wrong, "decoding.max_tokens=many", "model.name=m").splitlines()
    assert lines[0] == "mine.yaml: 7 mistakes"
    assert len(lines) <= 6
    told = "\n".join(lines)
    paths = ("dataset.task", "dataset.n_per_bin", "dataset.sed", "kv.budgets[0]", "modle", "run.retries.max_attempts")
    assert all(path in told for path in (*paths, "decoding.max_tokens"))


@pytest.mark.parametrize("written", ["0", "2", "0.5", "text", "20%", "[]"])
def test_budgets_that_are_no_list_are_told_what_a_budget_is(written: str) -> None:
    wanted = (
        "a list of fractions of the cache that are kept, each above 0 and at most 1, such as [1.0, 0.5] (--override)"
    )
    assert f"kv.budgets: got {yaml.safe_load(written)!r}, wanted {wanted}" in refusal(ENDPOINT, f"kv.budgets={written}")


def test_budgets_in_percent_are_told_the_fraction() -> None:
    wanted = "wanted a fraction of the cache that is kept, above 0 and at most 1"
    assert refusal(ENDPOINT, "kv.budgets=[20, 50]").splitlines()[1:] == [
        f"  kv.budgets[0]: got 20, {wanted}; 20 % is 0.2 (--override)",
        f"  kv.budgets[1]: got 50, {wanted}; 50 % is 0.5 (--override)",
    ]
    assert f"kv.budgets[1]: got 0, {wanted} (--override)" in refusal(ENDPOINT, "kv.budgets=[1.0, 0]")
    assert f"kv.budgets[1]: got 'half', {wanted} (--override)" in refusal(ENDPOINT, "kv.budgets=[1.0, half]")
    assert f"{wanted}; 50 % is 0.5" in refusal(ENDPOINT, "kv.apply=base_url", "kv.base_urls={50: 'http://h:1'}")


def test_a_mistake_of_an_option_names_it_and_the_option_stands_over_overrides() -> None:
    told = {"--concurrency": "engine.concurrency=4"}
    with pytest.raises(UsageError, match=r"engine\.concurrency: got 4, wanted 1: .* \(--concurrency\)$"):
        load_settings("sanity", options=told)
    made = load_settings("default", ["dataset.task=trec", "engine.concurrency=2"], PROFILED, options=told)
    assert made.engine.concurrency == 4


def test_a_null_drops_an_inherited_key_of_a_mapping_of_free_keys(tmp_path: Path) -> None:
    free = "extra_body: {k: '${budget}', x: 1, deep: {a: 1, b: 2}}, parameters: {window_size: 8, kernel_size: 7}"
    text = ENDPOINT + f"kv: {{policy: snapkv, budgets: [1.0, 0.5], apply: extra_body, {free}}}\n"
    made = load(text, "kv.extra_body.x=null", "kv.extra_body.deep.a=null", "kv.parameters={kernel_size: null}")
    assert made.kv.extra_body == {"k": "${budget}", "deep": {"b": 2}}
    assert made.kv.parameters == {"window_size": 8}
    (tmp_path / "base.yaml").write_text(text)
    extended = load("extends: base.yaml\nkv: {extra_body: {x: null, deep: null, new: null}}\n")
    assert extended.kv.extra_body == {"k": "${budget}", "new": None}, "what is not inherited is a null to be sent"


def test_a_mistake_of_an_override_says_so() -> None:
    assert refusal(ENDPOINT, "decoding.max_tokens=many") == (
        "mine.yaml: decoding.max_tokens: got 'many', wanted a whole number (--override)"
    )
    assert "n_per_bin: no such key; did you mean dataset.n_per_bin?" in refusal(ENDPOINT, "binning.n_per_bin=3")


def test_a_mistake_of_a_nested_key_names_the_place_where_it_stands(tmp_path: Path) -> None:
    urls = "policy: snapkv, apply: base_url, budgets: [1.0, 0.5], base_urls: {1.0: 'http://h:1', 0.5: 'http://h:2'}"
    text = ENDPOINT + f"kv: {{{urls}}}\n"
    for wrong, key in (
        ("kv.base_urls={0.5: 'ftp://h'}", "kv.base_urls.0.5"),
        ("kv.base_urls={1: 'ftp://h'}", "kv.base_urls.1.0"),
        ("kv.base_urls={0.5: 'http://h:1'}", "kv.base_urls"),
        ("kv.base_urls={0.2: 'http://h:3'}", "kv.base_urls"),
    ):
        told = refusal(text, wrong)
        assert told.startswith(f"mine.yaml: {key}: "), told
        assert told.endswith(" (--override)"), told
    own = refusal(text.replace("http://h:1", "ftp://h"), "kv.base_urls={0.5: 'http://h:3'}")
    assert "kv.base_urls.1.0: " in own
    assert not own.endswith(")")
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "mine.yaml").write_text(ENDPOINT + "run: {retries: {max_attempts: 0}}\n")
    assert refusal("extends: team/mine.yaml\n").endswith(f"wanted at least 1 ({tmp_path / 'team' / 'mine.yaml'})")


def test_a_name_that_is_neither_a_file_nor_a_profile_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean sanity"):
        load_settings("sanitty")
    with pytest.raises(UsageError, match="there is no such file"):
        load_settings("sanity.yml")


def test_a_folder_with_the_name_of_a_profile_does_not_hide_it_but_a_file_does(tmp_path: Path) -> None:
    (tmp_path / "sanity").mkdir()
    assert load_settings("sanity", environment={}).dataset.name == "recall"
    (tmp_path / "narrative").write_text(ENDPOINT)
    assert load_settings("narrative", environment={}).dataset.task == "trec"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a\n", "settings are a mapping"),
        ("kv: {a: 1, a: 2}\n", "line 1: no YAML: the key 'a' is given twice"),
        ("kv: [\n", "no YAML"),
        ("1: {}\n", "the names of sections are texts"),
        ("extends: [a]\n", "wanted the name of a profile or a path"),
        ("kv:\n", "kv: got nothing, wanted keys and their values"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(text: str, told: str) -> None:
    assert told in refusal(text, "dataset.task=x", "model.name=m")


def test_secrets_are_in_no_message_and_nothing_that_is_stored(tmp_path: Path) -> None:
    text = ENDPOINT + "engine: {api_key_env: TEAM_KEY, headers: {Authorization: 'Bearer ${TEAM_KEY}'}}\n"
    (tmp_path / ".env").write_text(f'TEAM_KEY="{KEY}"\n')
    made = load(text + f"output: {{folder: results/{KEY}}}\n")
    assert made.api_key == KEY
    assert made.engine.headers == {"Authorization": f"Bearer {KEY}"}
    assert made.resolved()["output"]["folder"] == "results/***"
    assert not any(KEY in shown for shown in (repr(made.engine), str(made.resolved()), made.to_yaml()))
    for wrong in (
        "kv: {policy: '${TEAM_KEY}'}\n",
        f"engine: {{api_key_env: {KEY}}}\n",
        f"engine: {{headers: [{KEY}]}}\n",
    ):
        assert KEY not in refusal(ENDPOINT + wrong)
    assert KEY not in refusal(ENDPOINT, f"engine.base_url=http://me:{KEY}@host")


SECRETS = {"MYTOKEN": "tok-0123456789", "TENANT": "tenant-0123456789", "MY_SECRET": "s3cr3t-0123456789"}
HIDING = """
engine: {headers: {X-Auth: "Bearer ${TENANT}", X-Team: red}, base_url: "http://h/${MYTOKEN}/v1"}
kv:
  apply: extra_body
  extra_body:
    keep: "${budget}"
    max_tokens: "64"
    apiKey: literal-0123456789
    auth: {of: ["${MY_SECRET}", "short"], note: "at ${budget}"}
output: {folder: "at-literal-0123456789"}
"""


def test_what_a_key_or_a_variable_gives_away_as_secret_is_shown_nowhere() -> None:
    made = load(ENDPOINT + HIDING, **SECRETS)
    assert made.engine.headers["X-Auth"] == f"Bearer {SECRETS['TENANT']}"
    assert made.kv.extra_body["auth"]["of"] == [SECRETS["MY_SECRET"], "short"]
    stored = made.resolved()
    hidden = (*SECRETS.values(), "literal-0123456789")
    assert set(hidden) <= set(made.secrets)
    assert [each for each in hidden if each in made.to_yaml()] == []
    assert stored["engine"]["base_url"] == "http://h/***/v1"
    assert stored["output"]["folder"] == "at-***"
    assert stored["kv"]["extra_body"] == {
        "keep": "${budget}",
        "max_tokens": "64",
        "apiKey": "***",
        "auth": {"of": ["***", "***"], "note": "at ${budget}"},
    }
    for wrong in ("kv.policy=${MYTOKEN}", "kv.extra_body=${MYTOKEN}", "decoding.max_tokens=${MY_SECRET}"):
        assert not any(each in refusal(ENDPOINT, wrong, **SECRETS) for each in hidden)
    long = "x" * 20 + "-0123456789" * 9
    assert "x" * 9 not in refusal(ENDPOINT, "kv.policy=is ${MYTOKEN}", MYTOKEN=long), "nor its beginning"


@pytest.mark.parametrize(
    "name", ["MYTOKEN", "HFTOKEN", "HF_TOKEN_2", "x-api-key", "apiKey", "X-Auth", "Cookie", "DB_PASSWORD"]
)
def test_names_that_sound_secret(name: str) -> None:
    assert sounds_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "max_tokens",
        "tokenizer",
        "MAX_MODEL_LEN",
        "n_tokens",
        "token_limit",
        "eos_token",
        "cost_per_token",
        "keys",
        "author",
    ],
)
def test_names_that_sound_like_secrets_and_are_none(name: str) -> None:
    assert not sounds_secret(name)


def test_what_sounds_like_a_secret_but_is_short_is_shown() -> None:
    made = load(ENDPOINT + "decoding: {max_tokens: '${TOP_KEY}'}\n", TOP_KEY="64")
    assert made.resolved()["decoding"]["max_tokens"] == 64
    assert made.resolved()["tokenizer"]["name"] == "words"


def test_a_line_of_the_env_file_that_is_no_variable_is_refused_without_showing_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"A=1\n\n# note\nB='{KEY}\n")
    with pytest.raises(UsageError, match=r"\.env, line 4") as told:
        read_env(tmp_path / ".env")
    assert KEY not in str(told.value)
    (tmp_path / ".env").write_text('A="x\\n\\"y\\"" # z\nB=\nC=a#b c\n')
    assert read_env(tmp_path / ".env") == {"A": 'x\n"y"', "B": "", "C": "a#b c"}


def test_the_example_of_an_env_file_names_every_variable_of_the_profiles(tmp_path: Path) -> None:
    text = (REPOSITORY / ".env.example").read_text()
    assert read_env(REPOSITORY / ".env.example") == {"MODEL_NAME": "", "MAX_MODEL_LEN": ""}
    named = ("MODEL_NAME", "MAX_MODEL_LEN", "BASE_URL", "OPENAI_API_KEY", "LONGBENCH")
    assert all(f"{name}=" in text for name in named)
    assert os.environ.get("MODEL_NAME") is None or load_settings("submission").model.name

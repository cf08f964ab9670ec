"""Metrics of answers: values worked out by hand, and those of LongBench's own functions.

The values were made with LongBench's `metrics.py`, rouge 1.0.1, fuzzywuzzy 0.18.0 (without python-Levenshtein) and
jieba 0.42.1.
"""

from __future__ import annotations

import sys

import pytest

from groundlake.errors import MissingDependencyError, UsageError
from groundlake.transition.scoring.answer import SCORER_VERSION, score_answer, scorer_version
from groundlake.transition.scoring.metrics import METRICS
from groundlake.transition.scoring.metrics.chinese import qa_f1_zh, rouge_l_zh, words_zh
from groundlake.transition.scoring.metrics.classification import classification
from groundlake.transition.scoring.metrics.code import code_similarity
from groundlake.transition.scoring.metrics.normalize import normalize, normalize_zh
from groundlake.transition.scoring.metrics.qa import exact_match, gold_answers, qa_f1, squad_f1
from groundlake.transition.scoring.metrics.retrieval import count, retrieval, retrieval_zh
from groundlake.transition.scoring.metrics.rouge import rouge_l
from groundlake.transition.scoring.tasks import TASKS

MINUTES = "The committee met on Monday. It approved the budget for 2020. The vote was 5 to 2"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Cat,\n a DOG!", "cat dog"),
        ("a.m.", "am"),  # punctuation goes before articles: no "a" is left over
        ("the-end", "theend"),
        ("An analysis of the theatre", "analysis of theatre"),
        ("$1,234.50", "123450"),
        ("Éclair à la carte", "éclair à la carte"),
        ("“quoted” – text", "“quoted” – text"),  # noqa: RUF001 - marks outside of ASCII stay
        ("The", ""),
        ("", ""),
    ],
)
def test_case_punctuation_articles_and_spaces_go_in_that_order(text: str, normal: str) -> None:
    assert normalize(text) == normal


def test_chinese_texts_lose_their_own_punctuation_and_all_spaces() -> None:
    assert normalize_zh("“北京”， Hello 世界！") == "北京hello世界"  # noqa: RUF001 - Chinese
    assert normalize_zh("《红楼梦》") == "《红楼梦", "the mark that LongBench forgot stays"


@pytest.mark.parametrize(
    ("answer", "gold", "f1"),
    [
        ("the cat saw the dog", "the cat saw the dog", 1.0),
        ("the cat saw the dog", "dog", 1 / 2),  # 3 words, 1 shared: 2 * 1/3 * 1 / (4/3)
        ("cat cat cat", "cat", 1 / 2),  # shared once, not three times
        ("cat cat dog", "cat cat", 4 / 5),
        ("Miller v. California", "Miller v. California (1973)", 6 / 7),
        ("It was the Beatles, the band", "The Beatles", 2 / 5),
        ("in 1999", "1999", 2 / 3),
        ("Gabriel García Márquez", "García Márquez", 4 / 5),
        ("no", "yes", 0.0),
        ("", "yes", 0.0),
        ("the", "a", 0.0),  # nothing is left of either: LongBench gives 0
    ],
)
def test_f1_of_answers_counts_each_shared_word_as_often_as_both_have_it(answer: str, gold: str, f1: float) -> None:
    assert qa_f1(answer, gold) == pytest.approx(f1, abs=1e-15)


def test_f1_of_squad_is_1_where_both_have_no_words_and_0_where_one_has_none() -> None:
    assert squad_f1((), ()) == 1
    assert squad_f1(("cat",), ()) == squad_f1((), ("cat",)) == 0
    assert squad_f1(("cat",), ("cat", "dog")) == pytest.approx(2 / 3)


def test_gold_answers_of_which_nothing_is_left_are_none_unless_all_are() -> None:
    assert gold_answers(["The", "The Who"]) == ["The Who"]
    assert gold_answers(["The", "..."]) == [""]


def test_answers_are_exact_once_they_are_normalised() -> None:
    assert exact_match("The Beatles!", "beatles") == 1
    assert exact_match("Beatles band", "Beatles") == 0
    assert exact_match("...", "the") == 1


@pytest.mark.parametrize(
    ("answer", "gold", "value"),
    [
        # 4 different words each, 4 of 5 in common: the, cat, on, mat against the, cat, sat | lay, on, mat.
        ("the cat sat on the mat", "the cat lay on the mat", 0.7999999950000002),
        ("police killed the gunman", "police kill the gunman", 0.749999995),
        ("The budget was approved. The committee met.", MINUTES, 0.4545454505785124),
        (MINUTES, MINUTES, 0.999999995),  # not 1: the quotient's epsilon
        ("a b c d. e f", "f e. c d a b", 0.4999999950000001),  # one of e f and f e; c d or a b: 3 of 6
        ("x y x y", "y x", 0.999999995),  # different words count, not how often
        ("a b. ", "a b", 0.7999999952000001),  # the space behind the stop is a sentence of one empty word
        ("Cat", "cat", 0.0),
        ("... .", "a", 0.0),
        ("", "a", 0.0),
    ],
)
def test_rouge_l_has_the_values_of_the_package_that_longbench_uses(answer: str, gold: str, value: float) -> None:
    assert rouge_l(answer, gold) == pytest.approx(value, abs=1e-15)


def test_rouge_l_of_sentences_longer_than_the_recursion_limit_has_a_value() -> None:
    words = " ".join(f"w{number}" for number in range(1200))
    assert rouge_l(words, words) == pytest.approx(1, abs=1e-8)
    assert len(words.split()) > sys.getrecursionlimit()


@pytest.mark.parametrize(
    ("answer", "gold", "value"),
    [
        ("Location", "Location", 1.0),
        ("Location or city", "Location", 1 / 2),
        ("city", "Location", 0.0),
        ("no idea", "Location", 0.0),
        ("Number of something", "Number of something", 1 / 2),
    ],
)
def test_classes_that_are_named_share_the_point(answer: str, gold: str, value: float) -> None:
    classes = ["Location", "city", "Number", "of", "something", "Number of something"]
    assert classification(answer, gold, classes) == value


def test_the_class_behind_a_removed_one_stays_as_in_published_values() -> None:
    # Found: A, AB, ABC (gold). A goes, so that AB moves to its place and is passed over: 1/2, where 1 is meant.
    assert classification("ABC", "ABC", ["A", "AB", "ABC"]) == 0.5
    assert classification("ABC", "ABC", ["A", "ABC", "AB"]) == 1.0, "A goes, the gold one is passed over, AB goes"


@pytest.mark.parametrize("classes", [None, ()])
def test_a_class_cannot_be_scored_without_all_classes(classes: tuple[str, ...] | None) -> None:
    with pytest.raises(UsageError, match="all_classes"):
        classification("Location", "Location", classes)


def test_the_share_of_right_numbers_counts() -> None:
    assert count("7", "7") == 1
    assert count("There are 7 of 10 paragraphs", "7") == 0.5
    assert count("17", "7") == count("seven", "7") == count("", "7") == 0
    assert retrieval("Paragraph 15", "Paragraph 15") == 1
    assert retrieval("Paragraphs 15, 15 and 3", "Paragraph 15") == 2 / 3
    assert retrieval_zh("段落12", "段落12") == 1


@pytest.mark.parametrize(("metric", "gold"), [(retrieval, "15"), (retrieval_zh, "Paragraph 15")])
def test_a_gold_paragraph_of_another_form_is_refused(metric: object, gold: str) -> None:
    with pytest.raises(UsageError, match="must be like"):
        metric("15", gold)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("answer", "gold", "value"),
    [
        ("return self.x", "return self.y", 0.92),
        ("\n# comment\n```\nreturn x\nreturn y\n", "return x", 1.0),  # the first line that is code
        ("x = 1  # one", "x = 1", 0.0),  # a line with a comment is none, and there is no other
        ("    return a + b", "return b + a", 0.71),
        ("import os", "import sys", 0.84),
        ("abcdbc", "bcdabc", 0.5),  # by insertions and deletions, which rapidfuzz counts, it is 0.83
        ("", "x", 0.0),
        ("", "", 1.0),
    ],
)
def test_code_is_compared_by_its_first_line(answer: str, gold: str, value: float) -> None:
    assert code_similarity(answer, gold) == value


def test_chinese_answers_are_compared_by_words() -> None:
    pytest.importorskip("jieba")
    assert words_zh("北京大学位于北京市海淀区。") == ("北京大学", "位于", "北京市", "海淀区")
    assert qa_f1_zh("北京大学位于北京市海淀区。", "北京市海淀区") == pytest.approx(2 / 3)
    assert qa_f1_zh("我不知道", "北京") == 0
    assert rouge_l_zh("北京大学位于北京市海淀区。", "北京市海淀区") == pytest.approx(0.5714285673469389, abs=1e-15)
    assert rouge_l_zh("答案是1998年", "1998年") == pytest.approx(0.6666666622222223, abs=1e-15)
    scored = score_answer(TASKS["multifieldqa_zh"], "北京，海淀区", ["海淀区", "上海"])  # noqa: RUF001 - Chinese
    assert (scored.accuracy, scored.f1, scored.exact_match) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 0)
    assert scored.scorer_version.startswith(f"{SCORER_VERSION}+jieba-")


def test_chinese_tasks_name_the_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jieba", None)  # as Python itself marks what cannot be imported
    for task in ("multifieldqa_zh", "dureader", "vcsum"):
        with pytest.raises(MissingDependencyError, match="transition-zh") as raised:
            score_answer(TASKS[task], f"没有见过的回答 {task}", ["答案"])
        assert raised.value.exit_code == 3
    assert score_answer(TASKS["lsht"], "体育", ["体育"], ["体育", "财经"]).accuracy == 1, "this one needs no words"


def test_the_gold_answer_that_suits_best_counts() -> None:
    scored = score_answer(TASKS["musique"], "New York City", ["Big Apple", "New York", "The city of New York"])
    assert scored.accuracy == scored.f1 == pytest.approx(6 / 7)  # 3 shared of 3 and of 4
    assert scored.exact_match == 0
    assert (scored.normalized_answer, scored.normalized_gold) == ("new york city", "city of new york")
    exact = score_answer(TASKS["musique"], "the big apple.", ["New York", "Big Apple"])
    assert (exact.accuracy, exact.exact_match, exact.normalized_gold) == (1, 1, "big apple")


def test_every_task_is_scored_by_its_own_metric_and_a_scale_from_0_to_1() -> None:
    classes = ["Event", "Other event"]
    trec = score_answer(TASKS["trec"], "\nOther event\nQuestion: What is next?\nType: Event", ["Other event"], classes)
    assert (trec.metric, trec.accuracy, trec.exact_match) == ("classification", 1, 1)
    summary = score_answer(TASKS["gov_report"], "police killed the gunman", ["police kill the gunman"])
    assert (summary.metric, summary.accuracy) == ("rouge_l", pytest.approx(0.75))
    assert score_answer(TASKS["repobench-p"], "x = 1\ny = 2", ["x = 1"]).accuracy == 1
    assert score_answer(TASKS["passage_count"], "7, I think", ["7"]).accuracy == 1
    assert score_answer(TASKS["kv_recall"], "lime fern", ["lime fern"]).accuracy == 1
    assert score_answer(TASKS["kv_recall"], "lime moss", ["lime fern"]).accuracy == 0, (
        "one of two words is not recalled"
    )
    assert {task.metric for task in TASKS.values()} <= {*METRICS, "classification"}


def test_only_the_first_line_counts_where_models_go_on_with_the_next_example() -> None:
    text = "\n\nParis\nQuestion: What is the capital of Spain?"
    assert score_answer(TASKS["triviaqa"], text, ["Paris"]).accuracy == 1
    assert score_answer(TASKS["hotpotqa"], text, ["Paris"]).accuracy < 0.5


def test_an_answer_is_truncated_where_the_part_that_counts_is() -> None:
    assert score_answer(TASKS["hotpotqa"], "Paris\nis", ["Paris"], finish_reason="length").truncated
    assert not score_answer(TASKS["hotpotqa"], "Paris", ["Paris"], finish_reason="stop").truncated
    assert not score_answer(TASKS["triviaqa"], "Paris\nQuestion:", ["Paris"], finish_reason="length").truncated
    assert score_answer(TASKS["triviaqa"], "Par", ["Paris"], finish_reason="length").truncated


def test_thoughts_are_not_scored() -> None:
    scored = score_answer(TASKS["hotpotqa"], "<think>Rome? No.</think>\n\nParis", ["Paris"])
    assert (scored.accuracy, scored.reasoning_characters) == (1, len("<think>Rome? No.</think>"))


def test_a_gold_answer_that_is_an_article_is_one_for_squad_and_none_for_longbench() -> None:
    scored = score_answer(TASKS["hotpotqa"], "A", ["A"])
    assert (scored.accuracy, scored.exact_match, scored.f1) == (0, 1, 1)


def test_an_empty_answer_scores_0_and_no_gold_answer_is_an_error() -> None:
    scored = score_answer(TASKS["hotpotqa"], "", ["Paris"])
    assert (scored.accuracy, scored.exact_match, scored.f1) == (0, 0, 0)
    with pytest.raises(UsageError, match="gold answer"):
        score_answer(TASKS["hotpotqa"], "Paris", [])


def test_scores_name_the_version_of_the_rules() -> None:
    assert score_answer(TASKS["hotpotqa"], "Paris", ["Paris"]).scorer_version == SCORER_VERSION
    assert scorer_version(TASKS["lcc"]) == SCORER_VERSION

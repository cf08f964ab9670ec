"""The tasks: how each is asked, how long its answer may be, and by what metric it is scored.

The 21 tasks of LongBench are asked and scored as LongBench does it (THUDM/LongBench, MIT). Its sources:

- wording: `config/dataset2prompt.json`, commit 8ae23fd4. (The first version, commit f6227eb7, and most copies write
  "asconcisely" for "as concisely" in narrativeqa.)
- longest answers: `config/dataset2maxlen.json`, as it stands in amirzandieh/QJL, commit 1a8e14b2; commit f6227eb7 of
  THUDM/LongBench has the same numbers for those tasks that existed then.
- metrics, and where only the first line counts: `eval.py`, commit 9a1b3d6f.
- where the prompt is not put into the model's template of a conversation: `pred.py`, commit c5ea10bc.

LongBench's `pred.py` also ends an answer of samsum at the first line break that is not its first token. As only the
first line counts there, the value is the same without that.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from groundlake.errors import UsageError
from groundlake.transition.data.longbench import base_task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from groundlake.transition.scoring.metrics import MetricName

CONTEXT: Final = "{context}"
QUESTION: Final = "{input}"


@dataclass(frozen=True, kw_only=True)
class Task:
    """How examples of one kind are asked and scored.

    Attributes:
        name: As in the data set; lower case.
        metric: By what an answer is scored; see `groundlake.transition.scoring.metrics`.
        template: The prompt, with `{context}` once and, behind it, `{input}` at most once, for the question.
        max_new_tokens: Longest answer, in tokens.
        first_line_only: Whether only the first line of an answer is scored; the model goes on with the next example.
        chat_template: Whether the prompt is put into the model's template of a conversation, where it has one. Tasks
            that show examples, or code, are continued as they are.
        language: Of the texts.
    """

    name: str
    metric: MetricName
    template: str
    max_new_tokens: int
    first_line_only: bool = False
    chat_template: bool = True
    language: Literal["en", "zh"] = "en"

    def prompt(self, context: str, question: str) -> str:
        """Return what the model is asked."""
        return "".join(self.halves(context, question))

    def halves(self, context: str, question: str) -> tuple[str, str]:
        """Return the prompt in two: up to the end of the context, and what comes behind it.

        The first is what can be compressed before the question is known.
        """
        head, _, tail = self.template.partition(CONTEXT)
        return head + context, tail.replace(QUESTION, question)


_BY_PASSAGES: Final = (
    "Answer the question based on the given passages. Only give me the answer and do not output any other words.\n\n"
    "The following are given passages.\n{context}\n\n"
    "Answer the question based on the given passages. Only give me the answer and do not output any other words.\n\n"
    "Question: {input}\nAnswer:"
)
_SCIENTIFIC: Final = (
    "as concisely as you can, using a single phrase or sentence if possible. If the question cannot be answered based "
    'on the information in the article, write "unanswerable". If the question is a yes/no question, answer "yes", '
    '"no", or "unanswerable". Do not provide any explanation.\n\n'
)
_STORY: Final = "as concisely as you can, using a single phrase if possible. Do not provide any explanation.\n\n"

_TASKS: Final = (
    Task(
        name="narrativeqa",
        metric="qa_f1",
        template=(
            "You are given a story, which can be either a novel or a movie script, and a question. "
            f"Answer the question {_STORY}"
            "Story: {context}\n\n"
            f"Now, answer the question based on the story {_STORY}"
            "Question: {input}\n\nAnswer:"
        ),
        max_new_tokens=128,
    ),
    Task(
        name="qasper",
        metric="qa_f1",
        template=(
            "You are given a scientific article and a question. "
            f"Answer the question {_SCIENTIFIC}"
            "Article: {context}\n\n"
            f" Answer the question based on the above article {_SCIENTIFIC}"
            "Question: {input}\n\nAnswer:"
        ),
        max_new_tokens=128,
    ),
    Task(
        name="multifieldqa_en",
        metric="qa_f1",
        template=(
            "Read the following text and answer briefly.\n\n{context}\n\n"
            "Now, answer the following question based on the above text, only give me the answer and do not output any "
            "other words.\n\nQuestion: {input}\nAnswer:"
        ),
        max_new_tokens=64,
    ),
    Task(
        name="multifieldqa_zh",
        metric="qa_f1_zh",
        template=(
            "阅读以下文字并用中文简短回答：\n\n{context}\n\n"  # noqa: RUF001 - Chinese
            "现在请基于上面的文章回答下面的问题，只告诉我答案，不要输出任何其他字词。\n\n问题：{input}\n回答："  # noqa: RUF001 - Chinese
        ),
        max_new_tokens=64,
        language="zh",
    ),
    Task(name="hotpotqa", metric="qa_f1", template=_BY_PASSAGES, max_new_tokens=32),
    Task(name="2wikimqa", metric="qa_f1", template=_BY_PASSAGES, max_new_tokens=32),
    Task(name="musique", metric="qa_f1", template=_BY_PASSAGES, max_new_tokens=32),
    Task(
        name="dureader",
        metric="rouge_l_zh",
        template=(
            "请基于给定的文章回答下述问题。\n\n文章：{context}\n\n"  # noqa: RUF001 - Chinese
            "请基于上述文章回答下面的问题。\n\n问题：{input}\n回答："  # noqa: RUF001 - Chinese
        ),
        max_new_tokens=128,
        language="zh",
    ),
    Task(
        name="gov_report",
        metric="rouge_l",
        template=(
            "You are given a report by a government agency. Write a one-page summary of the report.\n\n"
            "Report:\n{context}\n\nNow, write a one-page summary of the report.\n\nSummary:"
        ),
        max_new_tokens=512,
    ),
    Task(
        name="qmsum",
        metric="rouge_l",
        template=(
            "You are given a meeting transcript and a query containing a question or instruction. Answer the query in "
            "one or more sentences.\n\nTranscript:\n{context}\n\n"
            "Now, answer the query based on the above meeting transcript in one or more sentences.\n\n"
            "Query: {input}\nAnswer:"
        ),
        max_new_tokens=512,
    ),
    Task(
        name="multi_news",
        metric="rouge_l",
        template=(
            "You are given several news passages. Write a one-page summary of all news. \n\nNews:\n{context}\n\n"
            "Now, write a one-page summary of all the news.\n\nSummary:"
        ),
        max_new_tokens=512,
    ),
    Task(
        name="vcsum",
        metric="rouge_l_zh",
        template=(
            "下面有一段会议记录，请你阅读后，写一段总结，总结会议的内容。\n"  # noqa: RUF001 - Chinese
            "会议记录：\n{context}\n\n会议总结："  # noqa: RUF001 - Chinese
        ),
        max_new_tokens=512,
        language="zh",
    ),
    Task(
        name="trec",
        metric="classification",
        template=(
            "Please determine the type of the question below. Here are some examples of questions.\n\n"
            "{context}\n{input}"
        ),
        max_new_tokens=64,
        first_line_only=True,
        chat_template=False,
    ),
    Task(
        name="triviaqa",
        metric="qa_f1",
        template=(
            "Answer the question based on the given passage. Only give me the answer and do not output any other "
            "words. The following are some examples.\n\n{context}\n\n{input}"
        ),
        max_new_tokens=32,
        first_line_only=True,
        chat_template=False,
    ),
    Task(
        name="samsum",
        metric="rouge_l",
        template=(
            "Summarize the dialogue into a few short sentences. The following are some examples.\n\n"
            "{context}\n\n{input}"
        ),
        max_new_tokens=128,
        first_line_only=True,
        chat_template=False,
    ),
    Task(
        name="lsht",
        metric="classification",
        template="请判断给定新闻的类别，下面是一些例子。\n\n{context}\n{input}",  # noqa: RUF001 - Chinese
        max_new_tokens=64,
        first_line_only=True,
        chat_template=False,
        language="zh",
    ),
    Task(
        name="passage_count",
        metric="count",
        template=(
            "There are some paragraphs below sourced from Wikipedia. Some of them may be duplicates. Please carefully "
            "read these paragraphs and determine how many unique paragraphs there are after removing duplicates. In "
            "other words, how many non-repeating paragraphs are there in total?\n\n{context}\n\n"
            "Please enter the final count of unique paragraphs after removing duplicates. The output format should "
            "only contain the number, such as 1, 2, 3, and so on.\n\nThe final answer is: "
        ),
        max_new_tokens=32,
    ),
    Task(
        name="passage_retrieval_en",
        metric="retrieval",
        template=(
            "Here are 30 paragraphs from Wikipedia, along with an abstract. Please determine which paragraph the "
            "abstract is from.\n\n{context}\n\nThe following is an abstract.\n\n{input}\n\n"
            "Please enter the number of the paragraph that the abstract is from. The answer format must be like "
            '"Paragraph 1", "Paragraph 2", etc.\n\nThe answer is: '
        ),
        max_new_tokens=32,
    ),
    Task(
        name="passage_retrieval_zh",
        metric="retrieval_zh",
        template=(
            "以下是若干段落文字，以及其中一个段落的摘要。请确定给定的摘要出自哪一段。\n\n"  # noqa: RUF001 - Chinese
            "{context}\n\n下面是一个摘要\n\n{input}\n\n"
            '请输入摘要所属段落的编号。答案格式必须是"段落1"，"段落2"等格式\n\n答案是：'  # noqa: RUF001 - Chinese
        ),
        max_new_tokens=32,
        language="zh",
    ),
    Task(
        name="lcc",
        metric="code_similarity",
        template="Please complete the code given below. \n{context}Next line of code:\n",
        max_new_tokens=64,
        chat_template=False,
    ),
    Task(
        name="repobench-p",
        metric="code_similarity",
        template="Please complete the code given below. \n{context}{input}Next line of code:\n",
        max_new_tokens=64,
        chat_template=False,
    ),
    # Of groundlake: records of a key and two words, and the question for one of the keys.
    Task(
        name="kv_recall",
        metric="exact_match",
        template="{context}\n{input}",
        max_new_tokens=4,
        chat_template=False,
    ),
)

TASKS: Final[Mapping[str, Task]] = {task.name: task for task in _TASKS}


def find_task(name: str) -> Task:
    """Return the task of a name; `trec_e` of LongBench-E is asked and scored like `trec`.

    Raises:
        UsageError: There is none; the message names those that are near, and all.
    """
    task = TASKS.get(base_task(name))
    if task is None:
        near = difflib.get_close_matches(base_task(name).lower(), TASKS, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"no task is called {name!r}{hint}\n  there are: {', '.join(TASKS)}")
    return task

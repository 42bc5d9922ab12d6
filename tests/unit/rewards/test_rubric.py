"""Language consistency and keyword rubrics."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.errors import RewardError
from toolkit.rewards.language import LanguageConsistency, language_consistency, shares
from toolkit.rewards.registry import get
from toolkit.rewards.rubric import SALES_ZH, load_rubric

GOOD = (
    "您好，欢迎光临！请问您的预算大概是多少？我推荐这款轻薄本，适合日常办公，现在价格4999元，还有优惠。"
    "方便的话可以预约到店试用，您看可以吗？"
)


@pytest.mark.parametrize(
    ("text", "zh", "en"),
    [
        ("We add them.", 0, 1), ("我们把它们相加。", 1, 0), ("我们 add", 2 / 3.6, 1.6 / 3.6), ("设 x = 5, $x+y$", 1, 0),
        (r"<answer>所以 \frac{1}{2} 是</answer>", 1, 0), ("见 https://example.com/a/b", 1, 0), 
        ("```python\nx\n``` 好", 1, 0),
        ("Да, да", 0, 0), ("été", 0, 1),
    ],
)  # fmt: skip
def test_scripts_are_weighed_by_what_they_say(text: str, zh: float, en: float) -> None:
    found = shares(text)
    assert found is not None
    assert (found["zh"], found["en"]) == pytest.approx((zh, en))


def test_the_prompt_chooses_the_language_unless_a_setting_does() -> None:
    chinese = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "小明有几个苹果?"}]
    assert language_consistency(["他有三个", "He has three", "3"], prompts=[chinese] * 3) == [1.0, 0.0, 0.0]
    assert language_consistency(["He has three"], prompts=["How many apples?"]) == [1.0]
    assert language_consistency.judge("He has three", prompts="1+1?") is None
    assert LanguageConsistency("en")(["He has three", "他有三个"]) == [1.0, 0.0]


def test_the_worked_example_tells_good_sales_talk_from_bad() -> None:
    rubric = get("rubric_sales_zh")
    scores = rubric([GOOD, "便宜，绝对第一品牌，赶紧买", "", "您好" * 500, GOOD + "绝对最便宜。"])
    assert scores[0] == 1.0
    assert scores[1] is not None
    assert scores[1] < -0.5
    assert scores[2] == 0.0
    assert scores[4] == pytest.approx(1.0 - 2 * 0.3)
    assert "forbidden: 绝对, 最便宜" in rubric.explain(GOOD + "绝对最便宜。").reason


def test_a_rubric_is_the_weighted_mean_of_its_parts(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\n"
        "required: {weight: 3, elements: [{name: a, any_of: [ONE, two], weight: 2}, {name: b, any_of: [three]}]}\n"
        "structure: {order: [a, b], ends_with_any: ['.'], weight: 2}\n"
        "length: {low: 10, high: 20, weight: 1}\n"
        "forbidden: {phrases: [bad], penalty: 0.5}\n",
        encoding="utf-8",
    )
    rubric = get(f"rubric:{path}")
    assert rubric.__name__ == "mine"
    assert rubric.judge("one then three.") == 1.0
    assert rubric.judge("three and One too.") == pytest.approx((3 + 2 * 0.5 + 1) / 6)  # wrong order
    assert rubric.judge("only Two") == pytest.approx((3 * 2 / 3 + 0 + 0.7) / 6)  # 7 characters, no full stop
    assert rubric.judge("one then three bad bad.") == pytest.approx((3 + 2 + 1) / 6 - 0.5)  # once, however often
    assert rubric.judge("one then three, and more yet.") == pytest.approx((3 + 2 + 0.8) / 6)  # 24 characters
    assert rubric.range == (-1.0, 1.0)


LAID_OUT = """您好，请问您的预算是多少？
我推荐这款轻薄本，适合日常办公和出差，续航有十二个小时：
- 价格 **4999元**，现在还有优惠
- 可以预约到店试用，您看方便吗？"""


def test_the_hybrid_weights_are_format_elements_length_and_safety() -> None:
    rubric = get("rubric_sales_zh_hybrid")
    assert rubric.range == (0.0, 1.0)
    plain = LAID_OUT.replace("\n- ", "，").replace("\n", "，").replace("**", "")
    no_elements = "好的。\n- **一**\n- 二\n" + "请看说明。" * 12
    said = [LAID_OUT, plain, LAID_OUT + "绝对最便宜", LAID_OUT * 6, no_elements]
    assert rubric(said) == [pytest.approx(score / 0.8) for score in (0.8, 0.6, 0.6, 0.72, 0.5)]
    assert "min_list_items, min_bold, min_line_breaks" in rubric.explain(plain).reason


@pytest.mark.parametrize(
    ("check", "holds", "fails"),
    [
        ("min_list_items: 2", "a\n- b\n* c", "a\n- b\n-"),
        ("min_list_items: 3", "1. a\n2) b\n（3）c", "1. a 2. b 3. c"),
        ("min_bold: 1", "a **b c** d", "2 ** 3 and a ** b"), ("min_bold: 2", "__a__ <b>c</b>", "**a**"),
        ("min_line_breaks: 2", "a\nb\n\nc", "a\n\n\nb"),
    ],
)  # fmt: skip
def test_a_layout_is_counted(check: str, holds: str, fails: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: mine\nstructure: {{{check}}}", encoding="utf-8")
    assert load_rubric(path)([holds, fails]) == [1.0, 0.0]


def test_the_first_tier_that_holds_a_length_decides(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    tiers = "[{low: 3, high: 5, score: 1}, {low: 2, high: 9, score: 0.5}]"
    path.write_text(f"name: mine\nlength: {{tiers: {tiers}}}", encoding="utf-8")
    assert load_rubric(path)(["a", "ab", "a b c", "abcde", "abcdef", "a" * 10]) == [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nlength: {tiers: 3}", "length.tiers is 3"),
        ("name: a\nlength: {tiers: [{low: 9, high: 3, score: 1}]}", r"length.tiers\[1\] is 9 to 3"),
        ("name: a\nlength: {tiers: [{low: 1, high: 3, score: 2}]}", "a number, 0 to 1"),
        ("name: a\nlength: {tiers: [{low: 1, high: 3}]}", "has no 'score'"),
        ("name: a\nrequird: {}", "did you mean required"),
        ("required: {}", "has no 'name'"),
        ("- a", "wanted the keys"),
        ("name: a\nlength: {low: 5}", "length has no 'high'"),
        ("name: a\nlength: {low: 9, high: 3}", "wanted 0 < low <= high"),
        ("name: a\nlength: {low: x, high: 3}", "length.low is 'x'"),
        ("name: a\nforbidden: {penalty: -1}", "forbidden.penalty is -1"),
        ("name: a\nforbidden: {phrases: bad}", "wanted a list of phrases"),
        ("name: a\nrequired: {elements: [{name: b, any_of: []}]}", "at least one phrase"),
        ("name: a\nrequired: {elements: [{name: b, any_of: [x]}, {name: b, any_of: [y]}]}", "'b' twice"),
        ("name: a\nrequired: {elements: [{name: bee, any_of: [x]}]}\nstructure: {order: [be]}", "did you mean bee"),
        ("name: [", "is not YAML at line 1"),
        ("name: a\nrequired: {elements: [{name: b, any_of: [1]}]}", r"any_of\[1\] is 1"),
    ],
)
def test_a_rubric_file_is_checked_whole(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RewardError, match=said) as raised:
        load_rubric(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_rubric_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"none\.yaml cannot be read"):
        get(f"rubric:{tmp_path / 'none.yaml'}")
    assert SALES_ZH.exists()

"""What script texts are written in, by their letters alone, and the tokeniser that goes with it."""

from __future__ import annotations

import pytest

from rlgan.metrics.script import Script, script_of


@pytest.mark.parametrize(
    ("texts", "tokeniser"),
    [
        (["the cat sat on the mat", "a dog ran"], "13a"),
        (["Đây là một câu tiếng Việt", "고양이가 매트 위에 앉았다", "Кошка сидела", "जल्दी करो"], "13a"),
        (["今天我爱茶和狗。", "现在我看见茶和猫。"], "zh"),
        (["昨日は猫と犬を見ました。"], "char"),
        (["カタカナ"], "char"),
        (["ｶﾀｶﾅ"], "char"),
        (["ฉันรักแมวและสุนัข"], "char"),
        (["ខ្ញុំស្រឡាញ់ឆ្មា"], "char"),
        (["ຂ້ອຍຮັກແມວ"], "char"),
        (["ကျွန်တော်ကြောင်ကိုချစ်တယ်"], "char"),
        # Mixed: a name in brackets does not make a text Chinese, and a name in Latin letters leaves it Chinese.
        (["He lived in Tokyo (東京) for nine years and wrote about it."], "13a"),
        (["我用 Python 写了一个小程序，今天跑得很快。"], "zh"),
        (["我昨天在北京看见了の字的招牌"], "char"),
        (["the cat sat", "今天我爱茶和狗"], "zh"),
        # White space, digits and punctuation are of no script.
        (["今天 我 爱 茶 2026 ... !!!"], "zh"),
        (["2026", "...", ""], "13a"),
        ([], "13a"),
    ],
)
def test_the_tokeniser_follows_the_letters(texts: list[str], tokeniser: str) -> None:
    assert script_of(texts).tokeniser == tokeniser


def test_letters_are_counted_by_hand() -> None:
    # Six Latin letters and two Chinese ones; a comma and a space are none.
    assert script_of(["the cat, 猫狗"]) == Script(num_letters=8, num_han=2, num_others=0)
    assert script_of(["the cat, 猫狗"]).share_unspaced == 0.25
    # A vowel sign stands for itself.
    assert script_of(["กิ"]) == Script(num_letters=2, num_han=0, num_others=2)


def test_the_order_of_texts_does_not_matter() -> None:
    texts = ["今天我爱茶", "the cat", "ab 猫"]
    assert script_of(texts) == script_of(reversed(texts)) == script_of(["".join(texts)])


@pytest.mark.parametrize(("num_han", "tokeniser"), [(19, "13a"), (20, "zh")])
def test_a_fifth_of_the_letters_is_half_of_the_words(num_han: int, tokeniser: str) -> None:
    assert script_of(["a" * (100 - num_han) + "猫" * num_han]).tokeniser == tokeniser

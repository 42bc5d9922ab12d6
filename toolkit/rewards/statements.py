"""The answer that a text states: "the answer is 18", `Answer: 18`, `答案是18`, "18 is the answer".

A text is read as a person reads it, from its first statement to its last: a later one replaces an earlier one, and what
is taken back, denied, asked, supposed or reported is no answer. English, and the short forms of Chinese.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from toolkit.rewards.numerals import MAX_ANSWER_CHARS, parse_number
from toolkit.rewards.prose import TOKEN, plain, signed

WINDOW = 200  # characters looked at after a lead-in
BEFORE = 120  # and before it, on its line
NEAR = 48  # and directly before it
MAX_LEADS = 100  # lead-ins looked at, the last ones

_WRONG = (
    r"(?:not (?:quite )?(?:right|correct|valid|possible|it)\b|(?:clearly |also |actually )?"
    r"(?:wrong|incorrect|invalid|false|mistaken|impossible|an? (?:mistake|error))\b|错)"
)
# Group `denied`: `isn't`, `is not`. A lead-in ends in its verb, its sign, or its line
_LEAD = re.compile(
    r"answers?\b(?P<gap>(?:[^.\n:=<>]|(?<=[0-9])\.(?=[0-9])){0,80}?)(?:"
    r"\b(?P<denied>(?:is|are|was|were)(?:n't\b|(?:\s+[a-z]+ly)?\s+(?:not|never|neither)\b))"
    r"|\b(?P<verb>is|are|was|were|be|equals|remains|becomes|(?:comes?|came|works|amounts|evaluates) (?:out )?to)\b"
    r"|[:=→]|->)|answers?[*_) ]{0,8}\n"
    r"|答案[^.。\n]{0,20}?(?:(?P<zh_denied>不是|不为|并非)|[是为:：=])|A:",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<!Rs)(?<!approx)[.!?](?=[\s*$\"”)]|$)|\n")
_LINE_END = re.compile(r"[.!?。]\s+|\n")
# What stands before "answer" when it is not this text's own, or not any more
_EARLIER_WORDS = "previous prior earlier former initial original old"
_OTHER_WORDS = "wrong incorrect false mistaken another other alternative"
_SUPPOSING = (
    "if suppose supposing assume assuming imagine whether unless thought guessed "
    "claims claimed says said thinks believes"
)
_MORE_WORDS = "of than true clear case think say believe guess expect"
_WATCHED = frozenset(f"{_EARLIER_WORDS} {_OTHER_WORDS} {_SUPPOSING} {_MORE_WORDS}".split())
"""Without one of these before it, none of the next three can match: a quick look that most texts pass."""
_EARLIER = re.compile(rf"\b(?:{_EARLIER_WORDS.replace(' ', '|')})\s+(?:\w+\s+)?$", re.IGNORECASE)
_DISOWNED = re.compile(
    rf"\b(?:{'|'.join((_EARLIER_WORDS + ' ' + _OTHER_WORDS).split())}|(?:instead of|rather than) (?:the|my|our|an?))"
    r"\s+(?:\w+\s+)?$",
    re.IGNORECASE,
)
_GOVERNED = re.compile(
    rf"(?:n't (?:think|believe)|\b(?:{_SUPPOSING.replace(' ', '|')}|not (?:true|clear|the case)"
    r"|(?<!I )(?:might|may|could|would) (?:think|say|guess|believe|assume|expect)))"
    r"\s+(?:that\s+)?(?:(?:the|my|our|your|this|that|his|her|their|an?)\s+)?(?:\w+\s+)?$",
    re.IGNORECASE,
)
_QUOTED = re.compile(
    r"\b(?:asks?|asked|says?|said|claim(?:s|ed)|question|problem|prompt)\b[^\"“”]{0,20}[\"“][^\"“”]*$", re.IGNORECASE
)
_ASKED = re.compile(  # a question's own words: more than `Question 5: So the final`
    r"\W{0,8}(?:Q|Question|Problem|Prompt|Exercise)\b[^:\n?]{0,20}:\s*+"
    r"(?!(?:(?:so|thus|hence|therefore|the|my|our|final|correct)\b[\s,]*)*$)[^?.:\n]*$",
    re.IGNORECASE,
)
_AFTERWARDS = re.compile(
    r"(?P<said>.*?)(?P<verb>(?:\s+(?:is|are))(?P<denied>n't|\s+not)?)\s+(?:(?:therefore|thus|indeed|also)\s+)?"
    r"(?:the|my|our)\s+(?:(?:final|correct|right)\s+)?$",
    re.IGNORECASE | re.DOTALL,
)

_IS = re.compile(r"\b(?:is|are)(?:n't)?\b")
_DENIAL = re.compile(r"\b(?:not|never|cannot)\b|n't\b", re.IGNORECASE)
_RELATIVE = re.compile(r"(?:that|which|we|you|they|i)\b", re.IGNORECASE)
_IS_WRONG = re.compile(rf"\s*{_WRONG}", re.IGNORECASE)
_IS_NOT_RIGHT = re.compile(rf"\s*(?:{_WRONG}|(?:right|correct)\b)", re.IGNORECASE)

# Before the number, words that leave it the answer; any other word makes it part of a remark about the answer
_FILLER = re.compile(
    r"(?:(?:therefore|thus|hence|then|so|simply|just|exactly|precisely|approximately|approx|about|around|roughly|nearly"
    r"|almost|only|still|now|actually|indeed|clearly|also|again|obviously|finally|in fact|of course|definitely"
    r"|certainly|probably|likely|equal to|equals|found to be|given by|up to"
    r"|calculated (?:to be|as)|(?:going|supposed) to be|an?(?: grand)? total of"
    r"|the (?:number|value|integer|fraction|amount)|a whopping|either|both|the"
    r"|as follows|option|choice|negative|minus|positive|be|is|and|usd|us|eur|gbp|inr|rs|rmb|boxed"
    r"|约|大约|共|总共|一共|[a-z]{1,2}|(?:(?:twen|thir|for|fif|six|seven|eigh|nine)(?:ty|teen)|one|two|three|four|five|six|seven|eight|nine|ten|eleven"
    r"|twelve|hundred|thousand|zero)+)(?![a-z])[^a-z]*)*",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"\b(?:with|to|in|from|for|by|on|as|after|before|at|until|than|within)\b", re.IGNORECASE)
_BOUND = re.compile(r"[:=≈]|\bwhich (?:is|equals|gives|makes)\b|\b(?:is|are|equals)\b")
_CLAUSE_BOUND = re.compile(r"(?:[:=≈]|\b(?:is|are|equals|be|makes?|gets?|gives?|total of)\b)[^\w]*$", re.IGNORECASE)
_REMARK = re.compile(r"\b(?:not|correct|right|wrong|incorrect|reasonable|because|since)\b|n't\b", re.IGNORECASE)
_REFERENCE = re.compile(
    r"\b(?:step|part|question|problem|equation|line|method|case|figure|table|section|example|exercise|page|chapter"
    r"|approach|attempt|formula|rule|theorem|no\.?|#)\s*$",
    re.IGNORECASE,
)
_LIST_MARK = re.compile(r"\s*\n\s*1[.)]\s+\S")
_LETTER = re.compile(r"[^\W\d_]")
_MINUS = re.compile(r"\b(?:negative|minus)\W*$", re.IGNORECASE)
_ANOTHER = re.compile(
    r"[\s*$(]*(?:[A-Za-z]+ )?(?:,\s*(?:or|and)?|or|and|to|through|-)\s*"
    r"(?:(?:maybe|perhaps|possibly|probably|even|else)\s+)?(?:[A-Za-z]\w?\s*=\s*)?[$€£¥]?\s?-?[0-9]"
    r"(?!\w*\s*(?:decimal|significant|d\.?p|s\.?f|place|digit))",
    re.IGNORECASE,
)
_CALCULATES = re.compile(r"[\s$)]*[-+*/×÷·x=]\s*[$€£¥(]*\s*[0-9(]")
_IN_WORDS = re.compile(r"\s+(?:plus|minus|times|divided by|multiplied by)\s+\W{0,3}[0-9]", re.IGNORECASE)
_BECOMES = re.compile(r"[^.\n,;0-9]{0,24}?\s(?:is|equals)\s+\W{0,3}[0-9]")
_BUT = re.compile(r"\W*(?:(?:but|rather|instead|it's|it is)\b|而是|应该是|应为|是)", re.IGNORECASE)

# What takes a number back: in its own sentence, and in the words that follow
_CALLED_WRONG = re.compile(
    rf"[^.\n0-9?!]{{0,40}}?(?:\b(?:is|are|was|were|be|seems?|looks?)\s+{_WRONG}"
    r"|\b(?:is|was)n't (?:right|correct)\b|是?错)",
    re.IGNORECASE,
)
_HESITATES = r"(?:(?:but|hmm+|oh|oops|wait|sorry|hold on|actually|well|so)\b[\s,.…!—–-]*)*"
_TAKEN_BACK = re.compile(
    rf"[\s.…,;!?—–*$()\"”-]*{_HESITATES}(?:no(?=\s*[,.!;…—–-])|nope\b|scratch that\b|correction\b|let me correct\b"
    r"|i (?:made|make) an? (?:\w+ )?(?:mistake|error)\b"
    rf"|(?:that|this|it|which)(?:'s|\s+(?:is|was|seems|looks|must be))\s+{_WRONG}"
    r"|(?:that|this|it)\s+(?:(?:is|was|ca|could)n't|cannot) (?:be )?(?:right|correct)\b|不对|错了)",
    re.IGNORECASE,
)
_RESTATED = re.compile(
    r"(?P<words>[\s,.…!:;—–*$-]*(?:(?:wait|no|actually|sorry|hmm+|i meant?|make that|rather|correction|it's|it is"
    r"|it should be|should be|that's|that should be|应该是|是)(?![a-z])[\s,.…!:;—–*$-]*)*)(?=[0-9.$€£¥-])",
    re.IGNORECASE,
)
_CORRECTS = re.compile(r"wait|no\b|actually|sorry|mean|make that|rather|correction|should|应该", re.IGNORECASE)


class _Said(NamedTuple):
    """What one mention of the answer says."""

    stated: str | None = None
    """The answer from here on."""
    denied: str | None = None
    """A number that is not the answer."""
    takes_back: bool = False
    """Whether what was stated is wrong."""
    of_earlier: bool = False
    """Whether that is about an earlier statement."""


def stated_answer(text: str) -> str | None:
    """Return what a text states as its answer at its end, or None when nothing stands.

    It is the number that the statement gives, alone or before a reason; of an equation the result. Where the statement
    gives several (`18 or 19`) it is their text, which `parse_number` refuses. A remark about the answer (`this answer
    is the solution to step 2`) is passed over. Linear in the text's length.
    """
    standing, _denied_ones = _read(text)
    return standing[-1] if standing else None


def is_denied(text: str, number: str) -> bool:
    """Whether a text says of this number that it is not the answer, and does not state it afterwards."""
    standing, denied = _read(text)
    return any(_same(other, number) for other in denied) and not any(_same(other, number) for other in standing)


def _read(text: str) -> tuple[list[str], list[str]]:
    """The answers that stand at the end of a text, and the numbers that are denied or taken back in it."""
    if not text.isascii():
        text = text.replace("\u2019", "'")
    standing: list[str] = []
    denied: list[str] = []
    for at in _places(text):
        said = _said(text, at)
        if said is None:
            continue
        if said.takes_back:
            kept = standing[-1:] if said.of_earlier and len(standing) > 1 else []
            denied += standing[: len(standing) - len(kept)]
            standing = kept
        if said.denied is not None:
            denied.append(said.denied)
            standing = [answer for answer in standing if not _same(answer, said.denied)]
        if said.stated is not None:
            standing.append(said.stated)
    return standing, denied


def _same(a: str, b: str) -> bool:
    value = parse_number(a)
    return a == b or (value is not None and value == parse_number(b))


def _places(text: str) -> list[int]:
    """Where the last mentions of an answer begin, in order."""
    found = []
    for word, shift in (("nswer", -1), ("NSWER", -1), ("答案", 0), ("\nA:", 1)):
        at, n_found = text.rfind(word), 0
        while at >= 0 and n_found < MAX_LEADS:
            found.append(max(0, at + shift))
            at, n_found = text.rfind(word, 0, at), n_found + 1
    if text.startswith("A:"):
        found.append(0)
    return sorted(found)[-MAX_LEADS:]


def _said(text: str, at: int) -> _Said | None:
    """What the mention of an answer that begins at `at` says; None where it says nothing about which it is."""
    line = text[max(0, at - BEFORE, text.rfind("\n", 0, at) + 1) : at]
    if (":" in line and _ASKED.match(line)) or ('"' in line and _QUOTED.search(line)):
        return None
    sentence = _LINE_END.split(line)[-1] if line else ""
    if _IS.search(sentence) and (backwards := _AFTERWARDS.fullmatch(sentence)):
        number = _only_number(backwards["said"])
        if number:
            return _Said(denied=number) if backwards["denied"] else _Said(stated=number)
    lead = _LEAD.match(text, at)
    before = sentence[-NEAR:]
    is_watched = not _WATCHED.isdisjoint(before.lower().split())
    if lead is None or (is_watched and _GOVERNED.search(before)):
        return None
    after = text[lead.end() : lead.end() + WINDOW]
    gap = (lead["gap"] or "").strip()
    is_denied = bool(lead["denied"] or lead["zh_denied"] or (gap and _DENIAL.search(gap)))
    if (lead["verb"] or is_denied) and (_IS_WRONG if not is_denied else _IS_NOT_RIGHT).match(after):
        if "if " in sentence.lower():
            return None
        number = _only_number(gap)
        is_of_earlier = _EARLIER.search(before) is not None
        return _Said(denied=number) if number else _Said(takes_back=True, of_earlier=is_of_earlier)
    if is_denied:
        return _denied(after)
    found = _announced(after, is_clause=not lead["verb"] or _RELATIVE.match(gap) is not None)
    if found is None or not is_watched or not _DISOWNED.search(before):
        return found
    return _Said(denied=found.stated or found.denied) if _CALLED_WRONG.search(after) else None


def _only_number(words: str) -> str | None:
    """The number that ends a few words, alone or with its unit: `So 13 apples`."""
    words = plain(words)
    found = None
    for found in TOKEN.finditer(words):  # noqa: B007
        pass
    if found is None or len(re.findall(r"[A-Za-z]+", words[found.end() :])) > 3:
        return None
    return signed(words, found)


def _denied(rest: str) -> _Said | None:
    """`12 but 13`: the number that is denied, and the one that replaces it."""
    sentence, _end = _sentence(plain(rest))
    first = TOKEN.search(sentence)
    if first is None:
        return None
    but = _BUT.match(sentence, first.end()) or _BUT.match(sentence, _past_words(sentence, first.end()))
    found = TOKEN.search(sentence, but.end()) if but else None
    return _Said(stated=signed(sentence, found) if found else None, denied=signed(sentence, first))


def _past_words(sentence: str, at: int) -> int:
    """Past a unit of one or two words."""
    unit = re.compile(r"(?:\s+(?!but\b|it\b|rather\b)[A-Za-z]+){0,2}").match(sentence, at)
    return unit.end() if unit else at


def _sentence(rest: str) -> tuple[str, int]:
    """The first sentence, and where it ends."""
    end = _SENTENCE_END.search(rest)
    return (rest[: end.start()], end.start()) if end else (rest, len(rest))


def _announced(rest: str, is_clause: bool) -> _Said | None:
    """The answer in what follows a lead-in; None when its sentence gives none."""
    if is_clause and _LIST_MARK.match(rest):
        return None
    rest = plain(rest)
    rest = rest.lstrip(" *:#_`>\n\t")
    sentence, end = _sentence(rest)
    if rest[end : end + 1] == "?" and not re.match(r"\?\W*yes\b", rest[end:], re.IGNORECASE):
        return None
    whole = sentence if len(sentence) <= MAX_ANSWER_CHARS and parse_number(sentence) is not None else None
    if whole is not None and end == len(rest) and not _LETTER.search(whole):
        return _Said(whole)
    found = TOKEN.search(sentence) if whole is not None else _token(sentence, is_clause)
    if found is None:
        return None if whole is None else _Said(whole)
    if _CALLED_WRONG.match(sentence, found.end()):
        return _Said(denied=signed(sentence, found))
    return _changed(rest, found, end) or _Said(_value(sentence, found) if whole is None else whole)


def _changed(rest: str, found: re.Match[str], end: int) -> _Said | None:
    """What the words after a number, or after its sentence, make of it, where they take it back."""
    if not rest[found.end() :].strip(" .!*$"):
        return None
    for place in (found.end(), end):
        taken = _TAKEN_BACK.match(rest, place)
        again = _RESTATED.match(rest, taken.end() if taken else place)
        if again and (taken or _CORRECTS.search(again["words"])) and (other := TOKEN.search(rest, again.end())):
            sentence, _end = _sentence(rest[again.end() :])
            return _Said(_value(sentence, first) if (first := TOKEN.search(sentence)) else signed(rest, other))
        if taken:
            return _Said(denied=signed(rest, found))
    return None


def _token(sentence: str, is_clause: bool) -> re.Match[str] | None:
    """The number that a sentence gives as the answer."""
    is_clause = is_clause or re.match(r"that\b", sentence, re.IGNORECASE) is not None
    tokens = [found for found in _tokens(sentence) if not _REFERENCE.search(sentence, 0, found.start())]
    if not tokens or _REMARK.search(sentence, 0, tokens[0].start()):
        return None
    if is_clause:
        bound = [found for found in tokens if _CLAUSE_BOUND.search(sentence, 0, found.start())]
        return bound[0] if bound else tokens[0]
    if announced := next((found for found in tokens if _is_announced(sentence[: found.start()])), None):
        return announced
    alone = tokens[0]  # `a prime number, 13`
    is_apposed = len(tokens) == 1 and sentence[: alone.start()].rstrip(" $*").endswith(",")
    return alone if is_apposed and not sentence[alone.end() :].strip(" $*)") else None


def _tokens(sentence: str) -> Iterator[re.Match[str]]:
    at = 0
    while found := TOKEN.search(sentence, at):
        yield found
        at = found.end()


def _is_announced(before: str) -> bool:
    """Whether the words between "the answer is" and a number leave it the answer."""
    before = re.sub(r"\\[A-Za-z]+", " ", before)
    if _is_filler(before):
        return True
    *_, bound = [None, *_BOUND.finditer(before)]
    if bound is None or not _is_filler(before[bound.end() :]):
        return False
    return bound[0] not in ("=", "≈", "is", "are", "equals") or not _ABOUT.search(before, 0, bound.start())


def _is_filler(words: str) -> bool:
    return _FILLER.fullmatch(words.lstrip(" \t*_$([{\"'“,.;:-")) is not None


def _value(sentence: str, found: re.Match[str]) -> str:
    """The number of a statement with its sign; of an equation its result; of several numbers the sentence."""
    if _ANOTHER.match(sentence, found.end()) or _IN_WORDS.match(sentence, found.end()):
        return sentence
    if _CALCULATES.match(sentence, found.end()) or _BECOMES.match(sentence, found.end()):
        result = re.split(r"=|\b(?:is|equals)\b", sentence)[-1]
        last = TOKEN.search(result)
        return signed(result, last) if last and result != sentence else sentence
    value = signed(sentence, found)
    return f"-{value}" if value[0] != "-" and _MINUS.search(sentence, 0, found.start()) else value

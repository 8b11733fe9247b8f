"""Whether two texts are in different languages: by their script, or by their commonest words.

A script is told for any text that has enough letters of it. Languages that share one are told
apart only where they are listed here and a text holds many of their commonest words, so most
texts of a few words, and those in rarer languages, are of no known language and differ from none.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.arrays import Bools, Ints, flat, lengths, owners
from curate.methods.judgments import true

READ = 500  # characters of a text
FEWEST = 10  # letters by which a script is told
MOSTLY = 0.8  # the share of the letters that are of the script
DIFFERENT = 3  # of a language's commonest words, by which it is told: one may be a name
COMMON = 0.1  # the share of a text's words that are among a language's commonest
AHEAD = 2.0  # times as many as of any other language

_AROUND = ".,;:!?()[]*_\"'\u201c\u201d\u2019\u201e\u00ab\u00bb\u00a1\u00bf"  # stands around words
_LATIN, _KANA, _HAN = 1, 2, 3
_RANGES: tuple[tuple[int, int, int], ...] = (  # first and last code point, script
    (0x41, 0x5A, _LATIN), (0x61, 0x7A, _LATIN), (0xC0, 0x24F, _LATIN), (0x1E00, 0x1EFF, _LATIN),
    (0x3041, 0x30FF, _KANA), (0x31F0, 0x31FF, _KANA), (0xFF66, 0xFF9D, _KANA),
    (0x3400, 0x4DBF, _HAN), (0x4E00, 0x9FFF, _HAN), (0xF900, 0xFAFF, _HAN),
    (0x370, 0x3FF, 4), (0x1F00, 0x1FFF, 4),  # Greek
    (0x400, 0x52F, 5),  # Cyrillic
    (0x531, 0x58F, 6),  # Armenian
    (0x5D0, 0x5F4, 7),  # Hebrew
    (0x620, 0x6FF, 8), (0x750, 0x77F, 8), (0xFB50, 0xFDFF, 8), (0xFE70, 0xFEFC, 8),  # Arabic
    (0x1100, 0x11FF, 9), (0x3130, 0x318F, 9), (0xAC00, 0xD7AF, 9),  # Hangul
    (0xE00, 0xE7F, 10), (0xE80, 0xEFF, 11), (0x1000, 0x109F, 12), (0x1780, 0x17FF, 13),
    (0x10A0, 0x10FF, 14), (0x1200, 0x139F, 15),  # Georgian, Ethiopic
    *((0x900 + 0x80 * k, 0x97F + 0x80 * k, 16 + k) for k in range(10)),  # those of India
)  # fmt: skip
_SCRIPTS = 26

_COMMONEST: Mapping[str, str] = {
    "English": "the and of is that for with this are you not from have was which be they it can",
    "French": "le les des est une dans pour qui sur pas avec vous sont cette ce il et du au mais",
    "German": "der die und das ist nicht ein eine mit den von auch sich auf für wird zu es im dann",
    "Spanish": "el los las una por con para del está más pero como y es en su al lo muy tiene",
    "Portuguese": "os uma não com para mais dos das é são em ao você também pelo isso na no seu",
    "Italian": "il che di è per non una sono della gli nel più anche questo le si come dei",
    "Catalan": "els les amb és una del són més també aquest aquesta seva ha per però molt",
    "Romanian": "și în nu este pe cu care din mai pentru sau sunt să un au prin această dar",
    "Dutch": "het een van is niet met voor zijn dat op ook aan deze wordt bij maar er ik naar",
    "Swedish": "och att är inte för av till ett från jag också när mycket hur efter kan de",
    "Danish or Norwegian": "og er ikke til af å jeg fra også når meget hvordan et kan de",
    "Finnish": "ja ei että se ovat myös kun mutta joka tai voi niin hän sen mukaan",
    "Polish": "nie się jest że jak przez czy oraz są które może dla lub od ich tego",
    "Czech": "je se že jako být jsou nebo které při také jeho který není podle",
    "Hungarian": "az és hogy nem egy van meg csak is ez de vagy mint akkor lehet volt",
    "Turkish": "ve bir bu için ile de da çok daha olarak olan gibi ama ne en var her kadar değil",
    "Indonesian": "yang dan di untuk dengan ini itu tidak dari dalam adalah pada akan atau juga ke",
    "Vietnamese": "và là của có cho không được các một trong với những người để khi này đó",
}


def differ_in_language(one: pa.Array, two: pa.Array) -> Bools:
    """Return (n,) where two texts (large_string) are surely in different languages.

    Only the first READ characters are read, without blocks of code.
    """
    texts = [_without_code(column) for column in (one, two)]
    scripts = [_scripts(column) for column in texts]
    known = np.logical_and(*(script > 0 for script in scripts))
    differ: Bools = known & (scripts[0] != scripts[1])
    latin = np.flatnonzero(known & (scripts[0] == _LATIN) & (scripts[1] == _LATIN))
    spoken = [_languages(column.take(pa.array(latin))) for column in texts]
    differ[latin] = (spoken[0] >= 0) & (spoken[1] >= 0) & (spoken[0] != spoken[1])
    return differ


def _without_code(texts: pa.Array) -> pa.Array:
    """Return the beginnings of the texts, with a blank for each block of code or formula."""
    start = pc.utf8_slice_codeunits(texts, 0, READ)
    for pattern in (r"(?s)```.*?(?:```|$)", r"`[^`]*`|\$[^$]*\$|https?://\S+"):
        start = pc.replace_substring_regex(start, pattern, " ")
    return start


def _scripts(texts: pa.Array) -> Ints:
    """Return each text's script (n), or 0 where it has too few letters or mixes scripts.

    Japanese mixes kana with Han, so Han beside a tenth of kana or more is counted as kana.
    """
    found = np.zeros(len(texts), dtype=np.int64)
    ascii_only = np.asarray(pc.string_is_ascii(texts).to_numpy(zero_copy_only=False), dtype=bool)
    # To count letters one by one takes far longer than to see whether there are as many.
    enough = pc.match_substring_regex(texts, rf"^(?:[^A-Za-z]*[A-Za-z]){{{FEWEST}}}")
    found[ascii_only & true(enough)] = _LATIN
    at = np.flatnonzero(~ascii_only)
    rows = [np.frombuffer(t.encode("utf-32-le"), "<u4") for t in texts.take(at).to_pylist()]
    if not rows:
        return found
    sizes = np.array([len(row) for row in rows])
    codes = np.minimum(np.concatenate(rows), len(_TABLE) - 1)
    key = owners(sizes) * _SCRIPTS + _TABLE[codes]
    counts = np.bincount(key, minlength=len(rows) * _SCRIPTS).reshape(-1, _SCRIPTS)[:, 1:]
    kana, han = counts[:, _KANA - 1], counts[:, _HAN - 1]
    japanese = kana * 10 >= kana + han
    kana[japanese] += han[japanese]
    han[japanese] = 0
    total, best = counts.sum(axis=1), counts.max(axis=1)
    sure = (total >= FEWEST) & (best >= MOSTLY * total)
    found[at] = np.where(sure, counts.argmax(axis=1) + 1, 0)
    return found


def _languages(texts: pa.Array) -> Ints:
    """Return each text's language (n), as its place in the list, or -1 where it is not known."""
    words = pc.utf8_split_whitespace(pc.utf8_lower(texts))
    row, size = owners(lengths(words)), lengths(words)
    bare = pc.utf8_trim(flat(words), _AROUND)
    known = pc.index_in(bare, pa.array(_VOCABULARY, bare.type))
    known = np.asarray(pc.fill_null(known, -1))
    row, known = row[known >= 0], known[known >= 0]
    once = np.unique(row * len(_VOCABULARY) + known)
    held = _of_languages(row, known, len(size))
    different = _of_languages(once // len(_VOCABULARY), once % len(_VOCABULARY), len(size))
    best, order = held.argmax(axis=1), np.sort(held, axis=1)
    sure = (order[:, -1] >= COMMON * size) & (order[:, -1] >= AHEAD * order[:, -2])
    sure &= different[np.arange(len(size)), best] >= DIFFERENT
    return np.where(sure, best, -1)


def _of_languages(row: Ints, word: Ints, size: int) -> Ints:
    """Return how many of the words (their texts and places in the vocabulary) are of each language.

    (size, languages); a word may be of several.
    """
    held = [np.bincount(row[own[word]], minlength=size) for own in _MEMBERS]
    return np.stack(held, axis=1)


def _table() -> npt.NDArray[np.uint8]:
    table = np.zeros(0x10000, dtype=np.uint8)
    for first, last, script in _RANGES:
        table[first : last + 1] = script
    table[[0xD7, 0xF7]] = 0  # the signs of multiplication and division
    table[-1] = 0
    return table


_TABLE = _table()
_VOCABULARY = sorted({word for words in _COMMONEST.values() for word in words.split()})
_MEMBERS = np.array(
    [np.isin(_VOCABULARY, words.split()) for words in _COMMONEST.values()], dtype=bool
)

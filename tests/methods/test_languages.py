import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.methods.languages import _COMMONEST, _languages, differ_in_language

# Written for this test: how to boil an egg.
SPOKEN = {
    "English": (
        "Put the egg in cold water, bring it to a boil and wait for six minutes. Then take it"
        " out and hold it under the tap, so that it is not too hot."
    ),
    "French": (
        "Mettez les \u0153ufs dans une casserole d'eau froide et attendez six minutes sur le "
        "feu. Il faut que vous les passiez sous le robinet pour qu'ils ne soient pas trop cha"
        "uds."
    ),
    "German": (
        "Leg das Ei in kaltes Wasser, bring es zum Kochen und warte sechs Minuten. Dann nimm "
        "es heraus und halte es unter den Hahn, damit es nicht zu hei\u00df ist."
    ),
    "Spanish": (
        "Pon los huevos en agua fr\u00eda, espera seis minutos y s\u00e1calos con una cuchara"
        ". Hay que pasarlos por agua para que no est\u00e9n muy calientes, pero es f\u00e1cil"
        "."
    ),
    "Portuguese": (
        "Coloque os ovos em \u00e1gua fria e espere seis minutos. N\u00e3o \u00e9 preciso mai"
        "s do que isso para uma gema mole, mas voc\u00ea tamb\u00e9m pode esperar dez com os "
        "ovos na panela."
    ),
    "Italian": (
        "Metti le uova nell'acqua fredda e aspetta sei minuti. Non \u00e8 difficile, ma il te"
        "mpo che serve dipende anche dalla pentola, e questo non si pu\u00f2 sapere prima."
    ),
    "Dutch": (
        "Leg het ei in koud water en wacht zes minuten. Het is niet moeilijk, maar je moet he"
        "t ook op tijd uit de pan halen, dat is voor een zacht ei van belang."
    ),
    "Swedish": (
        "L\u00e4gg \u00e4gget i kallt vatten och v\u00e4nta i sex minuter. Det \u00e4r inte s"
        "v\u00e5rt, men man m\u00e5ste ta upp det ur kastrullen i tid f\u00f6r att det inte s"
        "ka bli h\u00e5rt."
    ),
    "Danish or Norwegian": (
        "L\u00e6g \u00e6gget i koldt vand og vent i seks minutter. Det er ikke sv\u00e6rt, me"
        "n man skal tage det op af gryden i tide, og det er godt at skylle det."
    ),
    "Polish": (
        "W\u0142\u00f3\u017c jajko do zimnej wody i poczekaj sze\u015b\u0107 minut. Nie jest "
        "to trudne, ale trzeba je wyj\u0105\u0107 na czas, bo inaczej to si\u0119 nie uda, cz"
        "y chcesz, czy nie."
    ),
    "Turkish": (
        "Yumurtay\u0131 so\u011fuk suya koy ve alt\u0131 dakika bekle. Bu zor de\u011fil ama "
        "daha sonra \u00e7ok s\u0131cak olan yumurtay\u0131 bir ka\u015f\u0131k ile \u00e7"
        "\u0131kar."
    ),
    "Indonesian": (
        "Masukkan telur ke dalam air dingin dan tunggu enam menit. Ini tidak sulit, tetapi te"
        "lur itu harus diangkat dari panci pada waktu yang tepat."
    ),
    "Catalan": (
        "Posa els ous en aigua freda i espera sis minuts. Aix\u00f2 \u00e9s f\u00e0cil, per"
        "\u00f2 tamb\u00e9 cal treure'ls de la cassola, i les closques s\u00f3n molt calentes"
        " amb el vapor."
    ),
    "Romanian": (
        "Pune ou\u0103le \u00een ap\u0103 rece \u0219i a\u0219teapt\u0103 \u0219ase minute. N"
        "u este greu, dar ou\u0103le sunt fierbin\u021bi, a\u0219a c\u0103 trebuie s\u0103 le"
        " sco\u021bi cu o lingur\u0103 din ap\u0103."
    ),
    "Finnish": (
        "Laita muna kylm\u00e4\u00e4n veteen ja odota kuusi minuuttia. Se ei ole vaikeaa, mut"
        "ta muna on my\u00f6s kuuma, joten ota se pois kun aika on kulunut."
    ),
    "Czech": (
        "Vlo\u017ete vejce do studen\u00e9 vody a po\u010dkejte \u0161est minut. Nen\u00ed to"
        " t\u011b\u017ek\u00e9, ale vejce je hork\u00e9, tak\u017ee se mus\u00ed vyndat l"
        "\u017e\u00edc\u00ed, kter\u00e1 tak\u00e9 nen\u00ed studen\u00e1, jako p\u0159i ka"
        "\u017ed\u00e9m va\u0159en\u00ed."
    ),
    "Hungarian": (
        "Tedd a toj\u00e1st hideg v\u00edzbe, \u00e9s v\u00e1rj hat percet. Ez nem neh\u00e9z"
        ", de az is igaz, hogy a toj\u00e1s forr\u00f3, akkor egy kan\u00e1llal meg lehet fog"
        "ni."
    ),
    "Vietnamese": (
        "Cho tr\u1ee9ng v\u00e0o n\u01b0\u1edbc l\u1ea1nh v\u00e0 \u0111\u1ee3i s\u00e1u ph"
        "\u00fat. \u0110\u00f3 kh\u00f4ng ph\u1ea3i l\u00e0 vi\u1ec7c kh\u00f3, nh\u01b0ng tr"
        "\u1ee9ng \u0111\u01b0\u1ee3c lu\u1ed9c trong n\u1ed3i n\u00ean r\u1ea5t n\u00f3ng, c"
        "\u00f3 th\u1ec3 d\u00f9ng th\u00eca \u0111\u1ec3 v\u1edbt."
    ),
}
WRITTEN = {
    "Russian": (
        "\u041f\u043e\u043b\u043e\u0436\u0438\u0442\u0435 \u044f\u0439\u0446\u043e \u0432 "
        "\u0432\u043e\u0434\u0443 \u0438 \u0436\u0434\u0438\u0442\u0435."
    ),
    "Chinese": (
        "\u628a\u9e21\u86cb\u653e\u5165\u51b7\u6c34\u4e2d\uff0c\u716e\u516d\u5206\u949f\u5373"
        "\u53ef\u3002"
    ),
    "Japanese": (
        "\u5375\u3092\u6c34\u306b\u5165\u308c\u3066\u3001\u516d\u5206\u5f85\u3061\u307e\u3059\u3002"
    ),
    "Korean": (
        "\ub2ec\uac40\uc744 \ucc2c\ubb3c\uc5d0 \ub123\uace0 \uc721 \ubd84 \ub3d9\uc548 \uae30"
        "\ub2e4\ub9bd\ub2c8\ub2e4."
    ),
    "Arabic": (
        "\u0636\u0639 \u0627\u0644\u0628\u064a\u0636\u0629 \u0641\u064a \u0627\u0644\u0645"
        "\u0627\u0621 \u0627\u0644\u0628\u0627\u0631\u062f"
    ),
    "Hindi": (
        "\u0905\u0902\u0921\u0947 \u0915\u094b \u0920\u0902\u0921\u0947 \u092a\u093e\u0928"
        "\u0940 \u092e\u0947\u0902 \u0921\u093e\u0932\u0947\u0902"
    ),
}


def column(*texts):
    return pa.array(texts, pa.large_string())


def differ(one, two):
    return bool(differ_in_language(column(one), column(two))[0])


@pytest.mark.parametrize("language", _COMMONEST)
def test_a_language_is_known_by_its_commonest_words(language):
    assert list(_COMMONEST)[_languages(column(SPOKEN[language]))[0]] == language


@pytest.mark.parametrize(("one", "two"), list(itertools.combinations([*SPOKEN, *WRITTEN], 2)))
def test_answers_in_two_languages_differ(one, two):
    both = SPOKEN | WRITTEN
    assert differ(both[one], both[two])
    assert differ(both[two], both[one])


@pytest.mark.parametrize("text", [*SPOKEN.values(), *WRITTEN.values()])
def test_two_answers_in_one_language_do_not_differ(text):
    half = len(text) // 2
    assert not differ(text[:half], text[half:])


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (SPOKEN["English"], "Voil\u00e0!"),  # too short to tell
        (SPOKEN["English"], "42"), (SPOKEN["English"], ""), (WRITTEN["Chinese"], "A"),
        (WRITTEN["Chinese"], WRITTEN["Chinese"] + "\n```\nprint('a long program in Python')\n```"),
        (WRITTEN["Russian"], WRITTEN["Russian"] + " https://example.org/a-long-address-in-latin"),
        (WRITTEN["Japanese"], "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059\u3002"),
        (SPOKEN["English"], SPOKEN["English"] + WRITTEN["Chinese"] * 9),  # both: none for sure
    ],
)  # fmt: skip
def test_what_is_not_sure_does_not_differ(one, two):
    assert not differ(one, two)


@given(st.text(max_size=200))
def test_no_text_differs_from_itself(text):
    assert not differ(text, text)


def test_rows_do_not_depend_on_one_another():
    texts = [*SPOKEN.values(), "", *WRITTEN.values(), "5 + 5"]
    pairs = list(itertools.product(texts, texts))
    whole = differ_in_language(*(column(*side) for side in zip(*pairs, strict=True)))
    assert whole.tolist() == [differ(a, b) for a, b in pairs]
    assert not differ_in_language(column(), column()).any()
    assert np.flatnonzero(whole).size > 0

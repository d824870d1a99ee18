"""The formulas of the site have the symbols of the docstrings, and fractions without doubt."""

import html
import importlib
import re

import pytest


@pytest.fixture
def maths():
    return importlib.import_module("sitegen.maths")


def formulas(mathml):
    """MathML in one line, without the copy of the text, spaces and empty rows."""
    text = re.sub(r"<annotation.*?</annotation>|<mspace[^>]*>", "", mathml, flags=re.DOTALL)
    return re.sub(r' \w+="[^"]*"', "", text)


def symbols(maths, mathml):
    """The symbols of MathML in their order, without fences and fractions' lines."""
    text = html.unescape(re.sub(r"<[^>]*>", "", formulas(mathml)))
    for ascii_, shown in maths.SHOWN.items():
        text = text.replace(shown, ascii_)
    for name, letter in maths.GREEK.items():
        if name != "epsilon":
            text = text.replace(letter, name)
    text = text.replace("⟨", "<").replace("⟩", ">")
    return _bare(text)


def _bare(text):
    text = text.replace("epsilon", "eps").replace("sqrt", "").replace("cbrt", "")
    return re.sub(r"[\s\N{NO-BREAK SPACE}()/^_`*]", "", text)


def blocks():
    docstrings = importlib.import_module("sitegen.docstrings")
    names = importlib.import_module("sitegen.names").public_names()
    reading = importlib.import_module("sitegen.reading")
    for name in names:
        for section in docstrings.parsed(reading.doc(name.module, name.name)).sections:
            for block in section.blocks:
                if block.kind == "indented":
                    yield name.short, block.text


def test_every_formula_has_the_symbols_of_its_text_in_their_order(maths):
    shown = 0
    for name, text in blocks():
        try:
            mathml = maths.mathml(text)
        except maths.NotMaths:
            continue
        shown += 1
        # A cube root has its 3 after what is below the root.
        expected = _bare(text)
        found = symbols(maths, mathml)
        if "cbrt" not in text:
            assert found == expected, name
    assert shown > 100


def one(maths, text):
    """The right side of one equation."""
    row = formulas(maths.mathml(f"u = {text}"))
    return re.fullmatch(r".*<mo>=</mo></mtd><mtd>(.*)</mtd></mtr></mtable>.*", row)[1]


@pytest.mark.parametrize(
    ("text", "above", "below"),
    [
        ("m / v", "<mi>m</mi>", "<mi>v</mi>"),
        ("(a + b) / c", "<mi>a</mi><mo>+</mo><mi>b</mi>", "<mi>c</mi>"),
        ("a b / c", "<mi>a</mi><mi>b</mi>", "<mi>c</mi>"),
        ("a / b / c", "<mi>a</mi><mo>/</mo><mi>b</mi>", "<mi>c</mi>"),
        ("a / c^2", "<mi>a</mi>", "<msup><mrow><mi>c</mi></mrow><mrow><mn>2</mn></mrow></msup>"),
    ],
)
def test_a_quotient_of_single_factors_is_a_fraction(maths, text, above, below):
    assert one(maths, text) == f"<mfrac><mrow>{above}</mrow><mrow>{below}</mrow></mfrac>"


@pytest.mark.parametrize("text", ["a / b c", "a / b c / d", "a / (b + 1) c"])
def test_a_quotient_that_can_be_read_in_two_ways_stays_in_line(maths, text):
    assert "<mfrac>" not in one(maths, text)
    assert "<mo>/</mo>" in one(maths, text)


def test_sums_bind_less_than_quotients(maths):
    assert one(maths, "a + b / c").startswith("<mi>a</mi><mo>+</mo><mfrac>")


def test_the_power_of_an_index_is_that_of_the_whole(maths):
    power = "<msubsup><mi>b</mi><mn>1</mn><mrow><mi>t</mi></mrow></msubsup>"
    assert one(maths, "1 - b1^t") == f"<mn>1</mn><mo>\N{MINUS SIGN}</mo>{power}"


@pytest.mark.parametrize(
    "text",
    ["step   value", "u = f(x.y)", "params = {1: 2}", "u = 1\nwhat it is", "b1: a hyperparameter"],
)
def test_other_texts_stay_as_they_are(maths, text):
    with pytest.raises(maths.NotMaths):
        maths.mathml(text)

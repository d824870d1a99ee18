"""The site's formulas keep the symbols of the docstrings; unambiguous quotients are fractions."""

import html
import importlib
import re

import pytest


@pytest.fixture
def maths():
    return importlib.import_module("sitegen.maths")


def formulas(mathml):
    """Removes the copy of the text, gaps and attributes from MathML."""
    text = re.sub(r"<annotation.*?</annotation>|<mspace[^>]*>", "", mathml, flags=re.DOTALL)
    return re.sub(r' \w+="[^"]*"', "", text)


def symbols(maths, mathml):
    """Returns the symbols of MathML in their order, without brackets and fraction bars."""
    text = html.unescape(re.sub(r"<[^>]*>", "", formulas(mathml)))
    for ascii_, shown in maths.SHOWN.items():
        text = text.replace(shown, ascii_)
    for name, letter in maths.GREEK.items():
        if name != "epsilon":
            text = text.replace(letter, name)
    text = text.replace("⟨", "<").replace("⟩", ">")
    return _bare(text)


def _bare(text):
    """Removes the characters that MathML does not show as symbols."""
    text = text.replace("epsilon", "eps").replace("sqrt", "").replace("cbrt", "")
    return re.sub(r"[\s\N{NO-BREAK SPACE}()/^_`*]", "", text)


def indented_blocks():
    """Yields the name of each public function with each indented block of its docstring."""
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
    for name, text in indented_blocks():
        try:
            mathml = maths.mathml(text)
        except maths.NotMaths:
            continue
        shown += 1
        # In MathML, the 3 of a cube root follows the radicand, which changes the order.
        if "cbrt" not in text:
            assert symbols(maths, mathml) == _bare(text), name
    assert shown > 100


def right_side(maths, text):
    """Returns the MathML of an expression, as the right side of an equation."""
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
    assert right_side(maths, text) == f"<mfrac><mrow>{above}</mrow><mrow>{below}</mrow></mfrac>"


@pytest.mark.parametrize("text", ["a / b c", "a / b c / d", "a / (b + 1) c"])
def test_a_quotient_that_can_be_read_in_two_ways_stays_in_line(maths, text):
    assert "<mfrac>" not in right_side(maths, text)
    assert "<mo>/</mo>" in right_side(maths, text)


def test_sums_bind_less_than_quotients(maths):
    assert right_side(maths, "a + b / c").startswith("<mi>a</mi><mo>+</mo><mfrac>")


def test_the_power_of_an_indexed_symbol_is_the_power_of_the_symbol(maths):
    power = "<msubsup><mi>b</mi><mn>1</mn><mrow><mi>t</mi></mrow></msubsup>"
    assert right_side(maths, "1 - b1^t") == f"<mn>1</mn><mo>\N{MINUS SIGN}</mo>{power}"


@pytest.mark.parametrize(
    "text",
    ["step   value", "u = f(x.y)", "params = {1: 2}", "u = 1\nwhat it is", "b1: a hyperparameter"],
)
def test_texts_that_are_not_equations_raise_not_maths(maths, text):
    with pytest.raises(maths.NotMaths):
        maths.mathml(text)

"""Docstrings, comments and pages are in plain sentences.

Each pattern is a habit that made pages hard to read, and that hardly occurs in plain text.
"""

import ast
import functools
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "functional_optim").rglob("*.py"))
OTHER_MODULES = [
    file
    for folder in ("tests", "benchmarks", "examples", "docs")
    for file in sorted((ROOT / folder).rglob("*.py"))
]
GENERATED = {"api.md", "optax_tests.md", "programs.md", "race.md"}
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in GENERATED),
    *sorted((ROOT / "docs" / "guides").glob("*.md")),
]

NOT_A_VERB = {
    *("A", "All", "An", "As", "Each", "For", "How", "If", "It", "Its", "No", "Of", "One"),
    *("That", "The", "There", "These", "They", "This", "Those", "What", "When", "Where"),
    *("Whether", "Which", "Who", "Why", "With"),
    *("Arrays", "Bytes", "Dtypes", "Elements", "Gradients", "Operations", "Options", "Parameters"),
    *("Paths", "Rows", "Seconds", "Weights"),
}
"""Words with which the docstring of a function does not begin."""

VERB = re.compile(r"[A-Z][a-z-]*s\b(?! of\b)")
"""A verb in the third person. Before 'of', it is a noun: 'Updates of ...'."""

HABITS = {
    r"^What [^?]*$": "a noun or a verb: 'Returns the ...', 'The ...'",
    r"(?<!here )\b(?:is|are) no (?!longer\b|more\b|less\b)[a-z-]+": "'is not a ...'",
    r", for (?:it|they|he|she|there|that|these|those) ": "', because ...'",
    r"\banew\b": "'again'",
    r"\balike\b": "'the same', 'both'",
    r"\bbeside\b": "'next to', 'besides', 'compared with'",
    r"\b(?:goes|go|went|going) on\b": "'continues'",
    r"\bhands? over\b": "'passes', 'provides'",
    r"^Those (?:of|that|which|whose|after|from)\b": "the noun again",
    r"\b(?:is|are|was|were) not there\b": "'does not exist', 'is missing'",
    r"\b[0-9N][a-z]* for none\b": "'None for no ...'",
    r"\bone's own\b": "'custom'",
    r"\b(?:is|are|was|were) (?:told|asked)\b": "the name of what happens: 'is passed', 'is called'",
    r"^Of (?:a|an|the|what|each|all) ": "the subject first",
    r"\bstands? still\b|\bat rest\b|\bages?\b": "'keeps its count', 'does not change'",
}
"""Pattern -> a better way to write it."""


def sentences(text: str) -> Iterator[str]:
    """Yields the lines of a text that are prose, joined to paragraphs."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for paragraph in re.split(r"\n\s*\n", text):
        lines = [line for line in paragraph.splitlines() if not line.lstrip().startswith(">>>")]
        yield from re.split(r"(?<=[.:])\s+", " ".join(line.strip() for line in lines))


def docstrings(module: Path) -> Iterator[tuple[int, str, bool]]:
    """Yields line, text and whether it must begin with a verb, for each docstring of a module."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text, _does_something(node)


def _does_something(node: ast.AST) -> bool:
    """Tells a function from a class, a property, and a test, which may state what is true."""
    if not isinstance(node, ast.FunctionDef) or node.name.startswith("test_"):
        return False
    names = {getattr(x, "attr", getattr(x, "id", "")) for x in node.decorator_list}
    return not names & {"property", "cached_property"}


def first_word(text: str) -> str:
    """Returns the first word, without the punctuation after it."""
    return text.split()[0].rstrip(",:.")


def begins_with_a_verb(text: str) -> bool:
    """Tells whether the first word is a verb; some nouns in the plural pass too."""
    return bool(VERB.match(text)) and first_word(text) not in NOT_A_VERB


def comments(module: Path) -> Iterator[tuple[int, str]]:
    """Yields line and text of each comment of a module."""
    for token in tokenize.generate_tokens(io.StringIO(module.read_text()).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


@functools.cache
def all_sentences() -> tuple[tuple[str, str], ...]:
    """Returns the place and the text of every sentence that is checked."""
    return tuple((where, s.strip()) for where, text in texts() for s in sentences(text))


def strings(module: Path, *, with_messages: bool) -> Iterator[tuple[int, str]]:
    """Yields the line and the text of each docstring, also of variables.

    Messages are all other strings with a space. An expression in an f-string becomes `...`.
    """
    tree = ast.parse(module.read_text())
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and with_messages:
            parts.update(map(id, node.values))
            yield node.lineno, "".join(getattr(part, "value", "") for part in constants(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_message = with_messages and " " in node.value and id(node) not in parts
            if id(node) in statements or is_message:
                yield node.lineno, node.value


def constants(node: ast.JoinedStr) -> Iterator[ast.Constant]:
    """Yields the texts of an f-string, with `...` in the place of each expression."""
    for part in node.values:
        yield part if isinstance(part, ast.Constant) else ast.Constant("...")


def texts() -> Iterator[tuple[str, str]]:
    """Yields the place and the text of docstrings, comments, messages and pages."""
    for module in MODULES + OTHER_MODULES:
        where = module.relative_to(ROOT)
        found = strings(module, with_messages=module in MODULES)
        yield from ((f"{where}:{line}", text) for line, text in found)
        yield from ((f"{where}:{line}", text) for line, text in comments(module))
    for page in PAGES:
        yield str(page.relative_to(ROOT)), page.read_text()


def check_beginnings(modules: list[Path], is_good: Callable[[str], bool]) -> None:
    """Asserts that the docstrings of functions begin as they should."""
    offenders = [
        f"{module.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for module in modules
        for line, text, does_something in docstrings(module)
        if does_something and not is_good(text)
    ]
    assert not offenders, "begin with a verb ('Returns', 'Computes'):\n" + "\n".join(offenders)


def test_docstrings_of_functions_begin_with_a_verb():
    """In the package, an optimizer's begins with a name: 'Adam: `scale_by_adam`, then ...'."""
    check_beginnings(MODULES, lambda text: first_word(text) not in NOT_A_VERB)


def test_docstrings_of_functions_outside_the_package_begin_with_a_verb():
    check_beginnings(OTHER_MODULES, begins_with_a_verb)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Returns the updates.", True),
        ("Trains, and returns the loss.", True),
        ("Fine-tunes in three ways.", True),
        ("All updates of one leaf, stacked.", False),
        ("Normal numbers of float64.", False),
        ("Updates of all steps, and the state at the end.", False),
        ("Gradients, None for some leaves.", False),
        ("Kingma & Ba, Algorithm 1.", False),
        ("Adam's direction.", False),
        ("`Sign.lmo`.", False),
        ("In float64.", False),
        ("What a rule returned.", False),
    ],
)
def test_verbs_are_told_from_nouns(text, expected):
    assert begins_with_a_verb(text) == expected


@pytest.mark.parametrize("habit", HABITS)
def test_sentences_are_plain(habit):
    pattern = re.compile(habit)
    offenders = [f"{where}: {text}" for where, text in all_sentences() if pattern.search(text)]
    assert not offenders, f"write {HABITS[habit]}:\n" + "\n".join(offenders)


@pytest.mark.parametrize(
    ("sentence", "habit"),
    [
        ("What a rule returned, which must be a dict.", r"^What [^?]*$"),
        ("It is no tracer.", r"(?<!here )\b(?:is|are) no (?!longer\b|more\b|less\b)[a-z-]+"),
        ("Of a matrix, the rows.", r"^Of (?:a|an|the|what|each|all) "),
    ],
)
def test_habits_are_found(sentence, habit):
    assert re.search(habit, sentence)

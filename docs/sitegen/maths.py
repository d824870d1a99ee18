"""The plain-text maths of docstrings as MathML, which browsers set without a script.

    u = m / (1 - b1^t) / (sqrt(v) + eps)

Ambiguous quotients keep the order of their symbols: `a / b c` gets no fraction. A text that has
more than equations raises `NotMaths`.
"""

import html
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w]))"
    r"|(?P<code>`[^`]+`)"
    r"|(?P<name>[A-Za-z]\w*(?:'\w+)?)"
    r"|(?P<relation><-|<=|>=|=|(?<=\s)[<>](?=\s))"
    r"|(?P<symbol>\.\.\.|[-+*/^_(),;|<>\[\]])"
)
RELATION = re.compile(r"(?<=\s)(?:<-|<=|=|<)(?=\s)")
LETTERS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "eta",
    "mu",
    "nu",
    "pi",
    "rho",
    "sigma",
    "tau",
]
GREEK = {name: unicodedata.lookup(f"GREEK SMALL LETTER {name}") for name in (*LETTERS, "tau")}
GREEK["eps"] = GREEK["epsilon"]
NO_BREAK = "\N{NO-BREAK SPACE}"
SHOWN = {"<-": "←", "<=": "≤", ">=": "≥", "-": "\N{MINUS SIGN}", "*": "·", "...": "…"}


class NotMaths(ValueError):
    """A text that cannot be read as equations."""


@dataclass(frozen=True)
class Token:
    """A symbol, its kind, and whether a space comes before it."""

    kind: str
    text: str
    spaced: bool


END = Token("end", "", False)


def mathml(text: str, known: frozenset[str] = frozenset()) -> str:
    """Returns equations, one to a line, as MathML; `known` has names of variables."""
    lines = text.split("\n")
    if not all(RELATION.search(line) or line.startswith("    ") for line in lines):
        raise NotMaths(text)
    left = {word for line in lines for word in _parts(line)[0].split()}
    rows = [_row(line, known | left) for line in lines]
    source = f'<annotation encoding="text/plain">{html.escape(text)}</annotation>'
    table = f'<mtable displaystyle="true">{"".join(rows)}</mtable>'
    return f'<math display="block"><semantics>{table}{source}</semantics></math>'


def _parts(line: str) -> tuple[str, str, str]:
    """Splits a line at its relation; an indented line has none, and continues the one before."""
    relation = None if line.startswith("    ") else RELATION.search(line)
    if relation is None:
        return "", "", line
    return line[: relation.start()], relation[0], line[relation.end() :]


def _row(line: str, known: frozenset[str]) -> str:
    left, relation, right = _parts(line)
    cells = (_run(_tokens(left), known), _operator(relation), _right(right, known))
    return f"<mtr>{''.join(f'<mtd>{cell}</mtd>' for cell in cells)}</mtr>"


def _right(text: str, known: frozenset[str]) -> str:
    """Returns the right side: terms, and after a gap a remark, such as the case they apply to."""
    parts = re.split(r"(,?;?)\s{2,}", text.strip())
    cells = [_run(_tokens(parts[0]), known)]
    for mark, part in zip(parts[1::2], parts[2::2], strict=True):
        cells.append(f'{_operator(mark) if mark else ""}<mspace width="2em"/>')
        cells.append(_run(_tokens(part), known))
    return "".join(cells)


def _tokens(text: str) -> list[Token]:
    tokens, at = [], 0
    while text[at:].strip():
        start = at + len(text[at:]) - len(text[at:].lstrip())
        found = TOKEN.match(text, start)
        if not found:
            raise NotMaths(text)
        tokens.append(Token(found.lastgroup or "", found[0], start > at))
        at = found.end()
    return tokens


def _run(tokens: list[Token], known: frozenset[str]) -> str:
    """Writes maths and words in turn."""
    out: list[str] = []
    depth, part, in_words = 0, [], False
    for n, token in enumerate(tokens):
        before = tokens[n - 1] if n else END
        after = tokens[n + 1] if n + 1 < len(tokens) else END
        is_word = not depth and _is_word(token, before, after, known)
        if part and token.text != "," and is_word != in_words:
            out.append(_words(part) if in_words else _expression(part))
            part = []
        if not part or token.text != ",":
            in_words = is_word
        part.append(token)
        opens = token.text in ("(", "[") or (token.kind, token.text) == ("symbol", "<")
        closes = token.text in (")", "]") or (token.kind, token.text) == ("symbol", ">")
        depth += opens - closes
    out.append(_words(part) if in_words else _expression(part))
    return "".join(out)


def _is_word(token: Token, before: Token, after: Token, known: frozenset[str]) -> bool:
    """Tells whether a token is a word, not a variable.

    Variables are single letters, have an underscore, are known, or stand next to an operator.
    """
    if token.kind == "code":
        return True
    if token.kind != "name" or token.text in known or token.text in GREEK:
        return False
    if token.text == "a" and after.kind == "name" and len(after.text) > 2:
        return True
    if len(token.text) == 1 or "_" in token.text or any(c.isdigit() for c in token.text):
        return False
    if before.text in tuple("+-*/^") or before.kind == "relation" or after.text in tuple("+*/^"):
        return False
    return after.text != "(" or after.spaced


def _words(tokens: list[Token]) -> str:
    """Writes words and their commas, with a space on both sides, and names of code as code."""
    parts = [""]
    for n, token in enumerate(tokens):
        if token.kind == "code":
            parts[-1] += NO_BREAK if n else ""
            parts += [f"<code>{html.escape(token.text.strip('`'))}</code>", ""]
        else:
            parts[-1] += (
                f"{'' if token.text == ',' or not n else NO_BREAK}{html.escape(token.text)}"
            )
    parts[0] = f"{NO_BREAK}{parts[0]}"
    parts[-1] += NO_BREAK
    return "".join(f"<mtext>{part}</mtext>" for part in parts if part)


def _operator(text: str) -> str:
    return f"<mo>{html.escape(SHOWN.get(text, text))}</mo>" if text else ""


def _name(text: str) -> str:
    """Writes a name: Greek where it is the name of a letter, with its index below."""
    head, _, index = text.partition("_")
    digits = re.fullmatch(r"([A-Za-z]+?)(\d+)", text)
    if digits and (len(digits[1]) == 1 or digits[1] in GREEK):
        return f"<msub>{_letter(digits[1])}<mn>{digits[2]}</mn></msub>"
    if index and (len(head) == 1 or len(index) == 1 or head in ("rho", "sigma")):
        below = f"<mn>{index}</mn>" if index.isdigit() else _letter(index)
        return f"<msub>{_letter(head)}{below}</msub>"
    return _letter(text)


def _letter(text: str) -> str:
    return f"<mi>{html.escape(GREEK.get(text, text))}</mi>"


def _expression(tokens: list[Token]) -> str:
    """Writes terms with relations and commas, or the symbols in order if it cannot be read."""
    if not tokens:
        return ""
    try:
        reader = _Reader(tokens)
        out = "".join(reader.listed())
        if not reader.done:
            raise NotMaths
        return out
    except NotMaths:
        return "".join(map(_symbol, tokens))


def _symbol(token: Token) -> str:
    if token.kind == "number":
        return f"<mn>{token.text}</mn>"
    if token.kind == "name":
        return _name(token.text)
    stretched = token.text in tuple("()[]|")
    return _operator(token.text).replace("<mo>", '<mo stretchy="false">' if stretched else "<mo>")


@dataclass(frozen=True)
class _Factor:
    """A factor; one in parentheses also without them, for a fraction."""

    full: str
    bare: str


class _Reader:
    """Reads an expression from left to right."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens, self._at, self._bars = tokens, 0, 0

    @property
    def done(self) -> bool:
        return self._at == len(self._tokens)

    def _peek(self, ahead: int = 0) -> Token:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else END

    def _take(self, text: str = "") -> Token:
        token = self._peek()
        if token.kind == "end" or (text and token.text != text):
            raise NotMaths
        self._at += 1
        return token

    def listed(self) -> Iterator[str]:
        """Reads sums, with commas, semicolons and relations between."""
        while True:
            if self._peek().text == "...":
                yield _operator(self._take().text)
            else:
                yield self._sum()
            token = self._peek()
            if token.text not in (",", ";") and token.kind != "relation":
                return
            yield _operator(self._take().text)
            if self.done:
                return

    def _sum(self) -> str:
        out = []
        if self._peek().text in ("-", "+"):
            out.append(_operator(self._take().text))
        out.append(self._term())
        while self._peek().text in ("-", "+"):
            out.append(_operator(self._take().text))
            if self._peek().text == "...":
                out.append(_operator(self._take().text))
            else:
                out.append(self._term())
        return "".join(out)

    def _term(self) -> str:
        """Reads products and quotients.

        A quotient is a fraction if it has only one factor below the line.
        """
        groups: list[list[_Factor]] = [[self._factor()]]
        while True:
            if self._peek().text == "/":
                self._take()
                groups.append([self._factor()])
            elif self._peek().text == "*":
                self._take()
                groups[-1].append(_Factor(_operator("*"), ""))
                groups[-1].append(self._factor())
            elif self._begins_factor():
                groups[-1].append(self._factor())
            else:
                break
        products = ["".join(_spaced([f.full for f in group])) for group in groups]
        if len(groups) == 1:
            return products[0]
        if any(len(group) > 1 for group in groups[1:]):
            return _operator("/").join(products)
        above = _operator("/").join(products[:-1])
        if len(groups) == 2 and len(groups[0]) == 1:
            above = groups[0][0].bare
        return f"<mfrac><mrow>{above}</mrow><mrow>{groups[-1][0].bare}</mrow></mfrac>"

    def _begins_factor(self) -> bool:
        token = self._peek()
        if token.text == "|":
            return not self._bars
        if token.text == "<":
            return True
        return token.kind in ("name", "number") or token.text in ("(", "[")

    def _factor(self) -> _Factor:
        base = self._atom()
        while self._peek().text in ("^", "_"):
            kind = "msup" if self._take().text == "^" else "msub"
            signs = [_operator(self._take().text)] if self._peek().text in ("-", "+") else []
            power = "".join([*signs, self._atom().bare])
            base = _both(_script(kind, base.full, power))
        return base

    def _atom(self) -> _Factor:
        token = self._take()
        if token.kind == "number":
            return _both(f"<mn>{token.text}</mn>")
        if token.kind == "name":
            return self._called(token)
        if token.text == "(":
            inner = self._until(")")
            return _Factor(_fenced("(", inner, ")"), inner)
        if token.text == "[":
            return _both(_fenced("[", self._until("]"), "]"))
        if token.text == "<":
            return _both(_fenced("⟨", self._until(">"), "⟩"))
        if token.text == "|":
            self._bars += 1
            inner = self._sum()
            self._take("|")
            self._bars -= 1
            return _both(_fenced("|", inner, "|"))
        raise NotMaths

    def _until(self, end: str) -> str:
        bars, self._bars = self._bars, 0
        inner = "".join(self.listed())
        self._take(end)
        self._bars = bars
        return inner

    def _called(self, token: Token) -> _Factor:
        """Reads a name, or a function with its argument in parentheses."""
        after = self._peek()
        if after.text not in ("(", "[") or after.spaced:
            return _both(_name(token.text))
        opening = self._take().text
        inner = self._until(")" if opening == "(" else "]")
        if token.text == "sqrt":
            return _both(f"<msqrt>{inner}</msqrt>")
        if token.text == "cbrt":
            return _both(f"<mroot><mrow>{inner}</mrow><mn>3</mn></mroot>")
        closing = ")" if opening == "(" else "]"
        return _both(f"<mrow>{_name(token.text)}{_fenced(opening, inner, closing)}</mrow>")


def _script(kind: str, base: str, script: str) -> str:
    """Writes a power or an index; the power of a name with an index stands above that."""
    if kind == "msup" and base.startswith("<msub>") and base.count("<msub>") == 1:
        return f"<msubsup>{base[6:-7]}<mrow>{script}</mrow></msubsup>"
    return f"<{kind}><mrow>{base}</mrow><mrow>{script}</mrow></{kind}>"


def _both(full: str) -> _Factor:
    return _Factor(full, full)


def _fenced(opening: str, inner: str, closing: str) -> str:
    stretchy = str("<mfrac" in inner).lower()
    marks = [f'<mo stretchy="{stretchy}">{mark}</mo>' for mark in (opening, closing)]
    return f"<mrow>{marks[0]}{inner}{marks[1]}</mrow>"


def _spaced(factors: list[str]) -> Iterator[str]:
    """Separates factors side by side: names of several letters would run together."""
    for n, factor in enumerate(factors):
        if n and not factor.startswith("<mo>") and not factors[n - 1].startswith("<mo>"):
            yield '<mspace width="0.22em"/>'
        yield factor

"""LaTeX as symbptt writes it, as MathML, which browsers draw without a script."""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

from symbptt.drawing.names import ACCENTS, SIGNS, TOKEN, greek

OPERATORS = {
    "odot": "⊙", "sum": "∑", "prod": "∏", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠", "neq": "≠", "top": "⊤",
    "times": "×", "cdot": "·", "ldots": "…", "cdots": "⋯", "dots": "…", "to": "→", "in": "∈", "land": "∧", "lor": "∨",
    "wedge": "∧", "vee": "∨", "neg": "¬", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉", "lvert": "|", "rvert": "|",
    "lVert": "‖", "rVert": "‖", "Vert": "‖", "vert": "|", "langle": "⟨", "rangle": "⟩", "infty": "∞", "circ": "∘", "mid": "|",
    "prime": "′", "colon": ":", "pm": "±", "mapsto": "↦", "supseteq": "⊇", "equiv": "≡", "lbrace": "{", "rbrace": "}",
}  # fmt: skip
FUNCTIONS = (
    "exp",
    "log",
    "ln",
    "sin",
    "cos",
    "tan",
    "tanh",
    "sinh",
    "cosh",
    "max",
    "min",
    "arctan",
    "arcsin",
    "arccos",
    "det",
    "arg",
)
WORDS = ("mathrm", "operatorname", "text", "textrm", "mathsf", "mathtt")
HEAVY = ("mathbf", "boldsymbol", "bm", "mathbb")
SPACES = {"quad": "1em", "qquad": "2em", ",": "0.17em", ";": "0.28em", ":": "0.22em", " ": "0.25em", "!": "0em"}
NOTHING = (
    "displaystyle", "textstyle", "limits", "nolimits", "big", "Big", "bigl", "bigr", "Bigl", "Bigr", "mathbin", "mathord",
    "nonumber", "notag", "allowbreak",
)  # fmt: skip
LETTER = {"ldots", "infty"}


def mathml(latex: str) -> str:
    """Return a formula in LaTeX as a MathML element; a command that is not known stands as its name."""
    tokens = [token for token in TOKEN.findall(latex) if not token.isspace()]
    return f"<math>{_Reader(tokens).row(len(tokens))}</math>"


@dataclass
class _Reader:
    """Reads tokens from left to right."""

    tokens: list[str]
    at: int = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1] if self.at <= len(self.tokens) else ""

    def row(self, end: int, stop: tuple[str, ...] = ("}",)) -> str:
        """Elements up to a token that ends the row, which is left where it is."""
        parts: list[str] = []
        while self.at < end and self.peek() not in stop:
            part = self.scripted()
            parts += [part] if part else []
        return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"

    def group(self) -> str:
        """A group in braces, or one element."""
        if self.peek() != "{":
            return self.element()
        self.take()
        inner = self.row(len(self.tokens))
        self.take()
        return inner

    def word(self) -> str:
        """The letters of a group in braces as they are."""
        if self.peek() != "{":
            return self.take().removeprefix("\\")
        self.take()
        text, depth = "", 1
        while self.at < len(self.tokens):
            token = self.take()
            depth += (token == "{") - (token == "}")
            if not depth:
                break
            text += {"\\to": "→"}.get(
                token, token.removeprefix("\\") if token.startswith("\\") and len(token) == 2 else token
            )
        return text

    def scripted(self) -> str:
        """An element with what is raised and lowered behind it."""
        base = self.element()
        low = high = ""
        while self.peek() in ("_", "^", "'"):
            sign = self.take()
            if sign == "_":
                low = self.group()
            else:
                high += "<mo>′</mo>" if sign == "'" else self.group()
        if not base and (low or high):
            base = "<mrow></mrow>"
        over = "∑" in base or "∏" in base
        if low and high:
            tag = "munderover" if over else "msubsup"
            return f"<{tag}>{base}{low}<mrow>{high}</mrow></{tag}>"
        if low:
            return f"<munder>{base}{low}</munder>" if over else f"<msub>{base}{low}</msub>"
        return f"<msup>{base}<mrow>{high}</mrow></msup>" if high else base

    def element(self) -> str:
        token = self.take()
        if token == "{":
            self.at -= 1
            return self.group()
        if token.startswith("\\"):
            return self.command(token[1:])
        if token.isdigit() or token == ".":
            while self.peek().isdigit() or (self.peek() == "." and token != "."):
                token += self.take()
            return f"<mn>{token}</mn>"
        if token == "&":
            return ""
        if token.isalpha():
            return f"<mi>{escape(token)}</mi>"
        form = {"(": ' form="prefix" stretchy="false"', ")": ' form="postfix" stretchy="false"'}
        side = form.get({"[": "(", "]": ")"}.get(token, token), "")
        return f"<mo{side}>{escape('−' if token == '-' else token)}</mo>"

    def command(self, name: str) -> str:
        if name in ("frac", "dfrac", "tfrac"):
            above = self.group()
            return f"<mfrac>{above}{self.group()}</mfrac>"
        if name == "sqrt":
            return f"<msqrt>{self.group()}</msqrt>"
        if name == "mathrel":
            relation = self.word()
            return f"<mo>{escape(relation + (self.take() if self.peek() == '=' else ''))}</mo>"
        if name == "left":
            return self.fenced()
        if name == "begin":
            return self.table()
        if name in WORDS:
            return (
                f'<mi mathvariant="normal">{escape(self.word())}</mi>'
                if name != "text"
                else f"<mtext>{escape(self.word())}</mtext>"
            )
        if name in HEAVY:
            return f'<mi mathvariant="normal" class="heavy">{escape(self.word())}</mi>'
        if name in ACCENTS:
            sign = {
                "\u0302": "^",
                "\u0303": "~",
                "\u0304": "¯",
                "\u0307": "˙",
                "\u0308": "¨",
                "\u030c": "ˇ",
                "\u20d7": "→",
            }[ACCENTS[name]]
            return f'<mover accent="true">{self.group()}<mo stretchy="false">{sign}</mo></mover>'
        return _sign(name)

    def fenced(self) -> str:
        """What stands between \\left and \\right, in brackets that grow."""
        opening = self.fence()
        inner = self.row(len(self.tokens), ("\\right",))
        self.take()
        return f"<mrow>{opening}{inner}{self.fence()}</mrow>"

    def fence(self) -> str:
        token = self.take()
        text = OPERATORS.get(token[1:], token[1:]) if token.startswith("\\") else token
        return "" if text == "." else f'<mo stretchy="true" fence="true">{escape(text)}</mo>'

    def table(self) -> str:
        """A matrix or a choice between cases."""
        name = self.word()
        brackets = {"cases": ("{", ""), "bmatrix": ("[", "]"), "pmatrix": ("(", ")")}.get(name, ("", ""))
        rows: list[list[str]] = [[]]
        while self.at < len(self.tokens) and self.peek() != "\\end":
            rows[-1].append(self.row(len(self.tokens), ("&", "\\\\", "\\end")))
            if self.peek() in ("&", "\\\\") and self.take() != "&":
                rows.append([])
        self.take()
        self.word()
        body = "".join(f"<mtr>{''.join(f'<mtd>{cell}</mtd>' for cell in row)}</mtr>" for row in rows if row)
        left, right = (f'<mo stretchy="true">{sign}</mo>' if sign else "" for sign in brackets)
        return f"<mrow>{left}<mtable>{body}</mtable>{right}</mrow>"


def _sign(name: str) -> str:
    """A command without arguments."""
    if name in SPACES:
        return f'<mspace width="{SPACES[name]}"/>'
    if name in NOTHING:
        return ""
    if name in LETTER:
        return f"<mi>{OPERATORS[name]}</mi>"
    if name in OPERATORS:
        return f"<mo>{OPERATORS[name]}</mo>"
    if name in FUNCTIONS:
        return f'<mi mathvariant="normal">{name}</mi>'
    if name in SIGNS:
        return f"<mi>{SIGNS[name]}</mi>"
    if not name.isalpha():
        return f"<mo>{escape(name)}</mo>"
    letter, slanted = greek(name)
    return f"<mi>{escape(letter)}</mi>" if slanted else f'<mi mathvariant="normal">{escape(letter)}</mi>'

"""Text of others stays text in Markdown and HTML."""

import re

import numpy as np
import pytest

import symbptt as sb
from symbptt import Input, Param, State
from symbptt.commands.build import summary_markdown
from symbptt.derivations.files import equations_markdown
from symbptt.equations.notation.markdown import plain
from symbptt.zoo import rnn

LOUD = "<script>alert(1)</script>\n# a heading\n| a | b |\n[a](http://x) `code` $x$ & *bold*"


@pytest.mark.parametrize(
    "text, escaped",
    [
        ("<b>&", "&lt;b&gt;&amp;"),
        ("# x", "\\# x"),
        ("  - x", "\\- x"),
        ("a|b_c", "a\\|b\\_c"),
        ("[a](b)", "\\[a\\](b)"),
        ("plain, text: 1.5 (T)", "plain, text: 1.5 (T)"),
        ("", ""),
        ("a\n\nb", "a\n\nb"),
    ],
)
def test_marks_of_markdown_and_html_are_escaped(text, escaped):
    assert plain(text) == escaped


def test_docstrings_and_summaries_make_no_markup():
    def loud(x: Input["n"], h: State["n"], w: Param["n"]):
        return np.tanh(w * h + x)

    loud.__doc__ = LOUD
    cell = sb.cell(loud)
    text = equations_markdown(sb.derive(cell))
    assert "<script" not in text and "\n# a heading" not in text and not re.search(r"(?<!\\)\]\(http", text)
    assert re.search(r"&lt;script&gt;alert\(1\)&lt;/script&gt;", text)


def test_file_names_and_headers_of_columns_make_no_markup(tmp_path):
    names = dict.fromkeys(
        (
            "equations",
            "equations in LaTeX",
            "module",
            "verification",
            "certificate",
            "unrolled",
            "stability",
            "stability numbers",
            "stability figure",
            "norms",
            "page",
        ),
        tmp_path / "file.txt",
    )

    class Told:
        caption = "words"

    text = summary_markdown(rnn, [("data", "<img src=x>|`a`.csv\n# b")], Told, names)
    assert "| data | &lt;img src=x&gt;\\|\\`a\\`.csv # b |" in text

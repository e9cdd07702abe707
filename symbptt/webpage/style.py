"""The style sheet of the page, and what marks lines that belong together where one of them is pointed at."""

from __future__ import annotations

HUES = (205, 28, 145, 325, 255, 48, 180, 0, 95, 285)
"""Hues of groups, in turns, far from each other first."""

SHEET = """
:root{color-scheme:light dark;--ink:#1a1c1e;--dim:#5b6166;--paper:#fff;--panel:#f5f6f7;--rule:#d8dcdf;--link:#0b5fa5;--l:93%;--s:70%;--e:42%}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8ea;--dim:#a3abb1;--paper:#16181a;--panel:#1f2225;--rule:#3a3f44;--link:#7db8ec;--l:22%;--s:45%;--e:62%}
svg.unrolled{filter:invert(1) hue-rotate(180deg)}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,"Segoe UI","Liberation Sans","DejaVu Sans",sans-serif;overflow-wrap:anywhere}
main,header,footer{max-width:1240px;margin:0 auto;padding:0 16px}
h1{font-size:1.7rem;margin:.8em 0 .2em}
h2{font-size:1.2rem;margin:2em 0 .5em;border-bottom:1px solid var(--rule);padding-bottom:.2em}
h3{font-size:1rem;margin:1.2em 0 .4em}
p{margin:.4em 0;max-width:75ch}
a{color:var(--link)}
nav a{margin-right:1em;white-space:nowrap}
.dim{color:var(--dim)}
table{border-collapse:collapse;font-size:.92rem;overflow-wrap:normal}
.pairs td{overflow-wrap:anywhere}
th,td{text-align:left;padding:.15em .8em .15em 0;border-bottom:1px solid var(--rule);vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.routes{margin:.2em 0 .8em .5em}.routes td{vertical-align:middle}.routes math{math-style:normal}
.row{display:block;margin:.2em 0}
.scroll{overflow-x:auto;max-width:100%}
.columns{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:0 32px}
.columns>:first-child{position:sticky;top:0;align-self:start;max-height:100vh;overflow-y:auto}
@media (max-width:900px){.columns>:first-child{position:static;max-height:none}.columns{grid-template-columns:minmax(0,1fr)}}
.eq{display:block;overflow-x:auto;overflow-y:hidden;padding:.28em .5em;margin:.15em 0;border-left:4px solid var(--rule);border-radius:2px}
details{margin:1em 0}summary{cursor:pointer;color:var(--link)}
math{font-family:"symbptt Math",math;font-size:1.08em}
pre{background:var(--panel);margin:.5em 0;padding:.6em;overflow:auto;font:12.5px/1.45 ui-monospace,"Cascadia Mono","DejaVu Sans Mono",monospace;overflow-wrap:normal;max-width:100%}
.code{max-height:75vh;counter-reset:line;padding-left:0}
.code i{display:block;font-style:normal;white-space:pre;width:max-content;min-width:100%;border-left:4px solid transparent;padding-left:4px}
.code i::before{counter-increment:line;content:counter(line);display:inline-block;width:3.6em;text-align:right;padding-right:1em;color:var(--dim)}
figure{margin:0}
figure svg{max-width:100%;height:auto}
.ok{color:#0a7d3c;font-weight:600}.bad{color:#c0392b;font-weight:600}
@media (prefers-color-scheme:dark){.ok{color:#57c785}.bad{color:#ff8a7a}}
[tabindex]:focus-visible{outline:2px solid var(--link)}
@page{size:A4;margin:14mm}
@media print{:root{--ink:#000;--dim:#444;--paper:#fff;--panel:#fff;--rule:#bbb;--l:95%;--s:60%;--e:40%}
body{font-size:9pt}nav,.screen{display:none}main,header,footer{max-width:none;padding:0}
.columns{display:block;columns:2;column-gap:12px}h1{margin-top:0}h2{break-after:avoid;margin-top:1.2em}.eq{padding:.1em .4em}.eq,tr,figure{break-inside:avoid}.eq{overflow:visible}h3{break-after:avoid}.columns>:first-child{position:static;max-height:none;overflow:visible}
.scroll{overflow:visible}table{font-size:7.5pt}td,th{padding:.05em .6em .05em 0}math{font-size:1em}
pre{font-size:6pt;white-space:pre-wrap}.code{max-height:none}.code i{width:auto;white-space:pre-wrap}.code i:not([class*=k]){display:none}
svg.unrolled{filter:none;max-height:120mm}}
"""


def group_rules(count: int) -> str:
    """Return the colour of each group, and what is marked where a line of it is pointed at or has the focus."""
    rules = []
    for i in range(count):
        hue = HUES[i % len(HUES)]
        rules.append(f".k{i}{{border-left-color:hsl({hue} 60% var(--e))!important}}")
        # :has marks all lines of a group while one of them is pointed at, without a script.
        rules.append(f"main:has(.k{i}:is(:hover,:focus)) .k{i}{{background:hsl({hue} var(--s) var(--l))}}")
    return "\n".join(rules)

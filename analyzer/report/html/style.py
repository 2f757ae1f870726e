"""The page's style sheet: light and dark by the reader's setting, narrow screens, print."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --bg: #fff; --card: #fff; --ink: #1c2430; --dim: #5b6675; --line: #d8dee6; --soft: #f4f6f9;
  --ok: #18794e; --bad: #c4232b; --warn: #946200; --name: #0b68a8;
  --container: #0b68a8; --bridge: #8a3ffc; --host: #946200;
  --r0: #9cc9ee; --r1: #2f86cf; --r2: #174f86; --r3: #5ea7e0;
  --b0: #a5dcc0; --b1: #2fa371; --b2: #14603f; --b3: #62c195;
  --turn: #e0a030; --whole: #98a2ae;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #12161c; --card: #181d25; --ink: #e3e8ee; --dim: #98a4b3; --line: #2d3643;
    --soft: #1e252f; --ok: #4cc38a; --bad: #ff7b81; --warn: #e7b04a; --name: #6cb8f0;
    --container: #6cb8f0; --bridge: #bf95ff; --host: #e7b04a;
    --r0: #c3e0f7; --r1: #57a6e6; --r2: #2c6fae; --r3: #86c1ef;
    --b0: #c4ecd7; --b1: #4fc08d; --b2: #2b855d; --b3: #86d6af; --turn: #e7b04a; --whole: #75808e;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.25rem; max-width: 76rem; background: var(--bg); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
}
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
h2 small { font-weight: normal; color: var(--dim); margin-left: .5rem; }
header p { margin: .35rem 0 0; }
section {
  margin-top: 1rem; padding: 1rem; border: 1px solid var(--line); border-radius: .6rem;
  background: var(--card); min-width: 0;
}
section p { margin: .6rem 0 0; max-width: 60rem; overflow-wrap: anywhere; }
.top { display: grid; gap: 0 1rem; grid-template-columns: minmax(0, 27rem) minmax(0, 1fr);
  grid-template-rows: auto 1fr; }
.top > section:has(.path) { grid-row: 1 / span 2; }
.top > section:only-child { grid-column: 1 / -1; }
.scroll { overflow-x: auto; }
.scroll svg { min-width: 32rem; }
svg { display: block; width: 100%; height: auto; }
.path { max-width: 26rem; }
.path + .path { margin-top: 1rem; }
text { fill: var(--ink); font: 13px system-ui, "Segoe UI", Arial, sans-serif; }
text.mono { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
text.dim, tspan.dim { fill: var(--dim); }
text.small { font-size: 12px; }
text.bad { fill: var(--bad); font-weight: 600; }
text.title { font-weight: 600; font-size: 14px; }
.details { font-weight: normal; font-size: 12px; fill: var(--dim); }
.axis { stroke: var(--line); stroke-width: 1; }
.house { fill: var(--soft); stroke-width: 1.5; }
.wire { stroke-width: 2; stroke: var(--dim); }
.wire.broken { stroke-dasharray: 4 5; stroke: var(--bad); }
.container { stroke: var(--container); }
.bridge { stroke: var(--bridge); }
.host { stroke: var(--host); }
text.container { fill: var(--container); stroke: none; }
text.bridge { fill: var(--bridge); stroke: none; }
text.host { fill: var(--host); stroke: none; }
circle.container { fill: var(--container); } circle.bridge { fill: var(--bridge); }
circle.host { fill: var(--host); }
.r0 { fill: var(--r0); } .r1 { fill: var(--r1); } .r2 { fill: var(--r2); } .r3 { fill: var(--r3); }
.b0 { fill: var(--b0); } .b1 { fill: var(--b1); } .b2 { fill: var(--b2); } .b3 { fill: var(--b3); }
.turn { fill: var(--turn); } .whole { fill: var(--whole); }
.dot { opacity: .35; } .range { stroke: var(--dim); stroke-width: 1.5; }
.middle { opacity: .55; }
.legend {
  display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .6rem 0 0; padding: 0;
  list-style: none; font-size: .85rem; color: var(--dim);
}
.legend svg {
  display: inline-block; width: .8rem; height: .8rem; min-width: 0; margin-right: .35rem;
  vertical-align: -.05rem;
}
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td {
  padding: .25rem .6rem; text-align: left; vertical-align: top;
  border-top: 1px solid var(--line);
}
thead th {
  border-top: 0; color: var(--dim); font-weight: normal; font-size: .85rem;
  white-space: nowrap;
}
th.n, td.n { text-align: right; white-space: nowrap; }
td.group, p.group { padding-top: .8rem; font-weight: 600; overflow-wrap: anywhere; }
td.sum { font-weight: 600; }
ul.facts, dl { margin: .25rem 0 .6rem 1.4rem; padding: 0; list-style: none; }
ul.facts li { padding-left: 1.3rem; text-indent: -1.3rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0 1rem; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
.ok { color: var(--ok); }
.bad { color: var(--bad); font-weight: 600; }
.warn { color: var(--warn); }
.name { color: var(--name); } .dim { color: var(--dim); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin-top: .8rem; font-size: .9rem; }
a { color: var(--name); text-decoration: none; } a:hover { text-decoration: underline; }
section h2 { scroll-margin-top: 1rem; }
details { margin-top: .6rem; } summary { cursor: pointer; color: var(--name); }
ul.facts + .item, details + .item { margin-top: .6rem; }
details > ul.facts { margin-top: .3rem; } .item + details { margin: 0 0 0 1.4rem; }
.item { margin: .3rem 0 0; } code { font-size: .9em; overflow-wrap: anywhere; }
@media (max-width: 60rem) {
  .top { grid-template-columns: minmax(0, 1fr); }
  .top > section:has(.path) { grid-row: auto; }
}
@media (max-width: 40rem) { .kind { display: none; } th, td { padding: .25rem .3rem; }
  body { padding: .6rem; font-size: 14px; } section { padding: .75rem; }
  h1 { font-size: 1.2rem; } }
@media print {
  :root { color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  section { break-inside: avoid-page; border-color: #bbb; } tr { break-inside: avoid; }
  nav { display: none; }
  .scroll { overflow: visible; } .scroll svg { min-width: 0; }
}
"""

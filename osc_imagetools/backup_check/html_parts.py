# SPDX-License-Identifier: Apache-2.0
"""The style and the script of the HTML report.

Contract: texts that hold nothing of a cloud; they stand in the page as they are, and its policy names their
hashes.
"""

from __future__ import annotations

STYLE = """
:root {
  --page: #ffffff; --text: #1b1f24; --quiet: #57606a; --line: #d0d7de; --panel: #f6f8fa; --link: #0550ae;
  --safe: #1a7f37; --at-risk: #9a6700; --not-judged: #57606a; --lost: #cf222e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0d1117; --text: #e6edf3; --quiet: #9198a1; --line: #3d444d; --panel: #161b22; --link: #79c0ff;
    --safe: #3fb950; --at-risk: #d29922; --not-judged: #9198a1; --lost: #ff7b72;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 1rem; background: var(--page); color: var(--text);
  font: 1rem/1.45 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.2; margin: 1.5rem 0 .5rem; }
h1 { margin-top: 0; }
h3 { font-size: 1rem; }
a { color: var(--link); }
small { color: var(--quiet); font-size: .8rem; }
th small, td > small { display: block; font-weight: normal; }
code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere; }
li code { display: block; margin: .15rem 0; padding: .25rem .5rem; background: var(--panel); user-select: all;
  border: 1px solid var(--line); border-radius: .25rem; white-space: pre-wrap; }
.tiles { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); }
.tile { padding: .75rem 1rem; text-align: left; font: inherit; color: inherit; background: var(--panel);
  border: 1px solid var(--line); border-left: .5rem solid var(--c); border-radius: .5rem; cursor: pointer; }
.tile strong { font-size: 2rem; line-height: 1.1; }
.tile b { color: var(--c); }
.tile span { display: block; color: var(--quiet); font-size: .9rem; }
.tile[aria-pressed=true] { outline: 3px solid var(--c); }
.bar { display: block; width: 100%; height: .75rem; margin-top: .75rem; border-radius: .4rem; }
.safe { --c: var(--safe); } .at_risk { --c: var(--at-risk); } .lost { --c: var(--lost); }
.not_judged { --c: var(--not-judged); }
rect { fill: var(--c); }
.mark { color: var(--c); font-weight: 600; white-space: nowrap; }
.mark::before { content: "\\25CF\\A0"; }
.critical { color: var(--lost); } .warning { color: var(--at-risk); } .info { color: var(--quiet); }
.tools { display: flex; gap: 1rem; align-items: center; flex-wrap: wrap; }
.tools output { color: var(--quiet); }
input { font: inherit; padding: .25rem .5rem; color: inherit; background: var(--page);
  border: 1px solid var(--quiet); border-radius: .25rem; }
table, thead, tbody { display: block; }
/* Rows are grids, so that a browser lays out those alone that are in sight. */
tr { display: grid; grid-template-columns: 19.5rem 8.5rem minmax(0, 1fr) 10.5rem 4.5rem 7rem;
  border-bottom: 1px solid var(--line); }
tbody tr { content-visibility: auto; contain-intrinsic-size: auto 5rem; }
th, td { padding: .4rem .5rem; text-align: left; overflow-wrap: anywhere; }
thead { position: sticky; top: 0; z-index: 1; background: var(--panel); }
thead th { padding: 0; }
thead button { width: 100%; padding: .5rem; border: 0; background: none; color: inherit; font: inherit;
  font-weight: 600; text-align: left; cursor: pointer; }
[aria-sort=ascending] button::after { content: " \\25B2"; }
[aria-sort=descending] button::after { content: " \\25BC"; }
summary { cursor: pointer; }
td ul, .strays ul { margin: .25rem 0; padding-left: 1.1rem; }
.strays { padding: 0; list-style: none; }
.strays h3 { overflow-wrap: anywhere; }
article { border-top: 1px solid var(--line); }
article:target { outline: 2px solid var(--link); outline-offset: .25rem; }
.count { color: var(--quiet); }
[hidden] { display: none !important; }
@media (max-width: 64rem) {
  thead { position: static; background: none; }
  thead tr { display: flex; flex-wrap: wrap; gap: .25rem; border: 0; }
  thead th { background: var(--panel); border: 1px solid var(--line); border-radius: .25rem; }
  thead button { padding: .25rem .5rem; font-size: .85rem; }
  tbody tr { display: block; margin: .75rem 0; padding: .5rem .75rem; border: 1px solid var(--line);
    border-radius: .5rem; contain-intrinsic-size: auto 12rem; }
  tbody th, tbody td { display: block; padding: .15rem 0; }
  tbody td:nth-child(4)::before { content: "Newest backup: "; color: var(--quiet); }
  tbody td:nth-child(5)::before { content: "Disks: "; color: var(--quiet); }
  tbody td:nth-child(6)::before { content: "Boots from: "; color: var(--quiet); }
  tbody td > small { display: inline; }
}
@media print {
  .tools, thead button::after { display: none; }
}
"""

SCRIPT = """
"use strict";
(() => {
  const body = document.querySelector("tbody");
  const rows = Array.from(body.rows);
  const search = document.querySelector("input");
  const shown = document.querySelector("output");
  const tiles = Array.from(document.querySelectorAll("[data-filter]"));
  const heads = Array.from(document.querySelectorAll("thead th"));
  const texts = rows.map(row => row.textContent.toLowerCase());
  const collator = new Intl.Collator("en", {numeric: true});

  function filter() {
    const wanted = tiles.filter(tile => tile.ariaPressed === "true").map(tile => tile.dataset.filter);
    const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row, at) => {
      const fits = (!wanted.length || wanted.includes(row.cells[1].dataset.v)) &&
        words.every(word => texts[at].includes(word));
      row.hidden = !fits;
      count += fits;
    });
    shown.textContent = count === rows.length ? "" : `${count} of ${rows.length}`;
  }

  function sort(column) {
    const head = heads[column];
    const number = "number" in head.dataset;
    const up = head.ariaSort ? head.ariaSort === "descending" : !number;
    const keys = new Map(rows.map(row => {
      const cell = row.cells[column];
      return [row, number ? Number(cell.dataset.v) : cell.firstChild?.textContent ?? ""];
    }));
    const order = rows.slice().sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      return (number ? x - y : collator.compare(x, y)) * (up ? 1 : -1);
    });
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.ariaSort = up ? "ascending" : "descending";
    body.append(...order);
  }

  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sort(column)));
  tiles.forEach(tile => tile.addEventListener("click", () => {
    tile.ariaPressed = tile.ariaPressed === "true" ? "false" : "true";
    filter();
  }));
  let waiting;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 150); });
})();
"""

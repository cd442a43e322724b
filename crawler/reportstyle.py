"""The style and the script of report.html, and the policy that lets a browser take these two and nothing else.

Decides looks only. Must not know what a report says. Invariant: without the script all is shown; the policy allows no
request, no frame, no form, and no style or script but these, told by their hashes.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

_LIGHT = """--bg:#fff;--soft:#f5f6f8;--line:#dfe3e8;--ink:#1b2127;--muted:#56606b;--link:#1f5fa8;
--area:#5c8fcc;--edge:#3b74b8;--ok:#27704a;--bad:#b3261e;--badarea:#c8453c;--warn:#865600;--okbg:#edf6f0;
--badbg:#fcefee;--warnbg:#fbf4e4;color-scheme:light"""
_DARK = """--bg:#14181d;--soft:#1b2127;--line:#303943;--ink:#e4e8ec;--muted:#a3adb8;--link:#8cbcf0;
--area:#4f7fb8;--edge:#86b4ea;--ok:#83cfa3;--bad:#ff9a90;--badarea:#e2695f;--warn:#e7b95a;--okbg:#17261e;
--badbg:#2c1b1b;--warnbg:#2a2416;color-scheme:dark"""

_LAYOUT = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);
 font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main,header,footer{max-width:1120px;margin:0 auto;padding:0 20px}
a{color:var(--link);text-decoration-thickness:1px;text-underline-offset:2px}
:focus-visible{outline:2px solid var(--link);outline-offset:2px;border-radius:2px}
.skip{position:absolute;left:-999px;top:0;padding:8px 14px;background:var(--bg);z-index:2}
.skip:focus{left:8px;top:8px}
header{padding-top:28px;position:relative}
header .kind{margin:0;color:var(--muted);font-size:13px}
h1{margin:0;font-size:28px;line-height:1.25;letter-spacing:-.01em;overflow-wrap:anywhere;padding-right:110px}
.when{margin:4px 0 0;color:var(--muted);font-size:14px;overflow-wrap:anywhere;max-width:none}
.when span{display:inline-block;margin-right:18px}
h2{margin:44px 0 12px;padding-top:14px;border-top:1px solid var(--line);font-size:19px;line-height:1.3}
h3{margin:22px 0 6px;font-size:15px;line-height:1.4;overflow-wrap:anywhere}
p{margin:6px 0;max-width:80ch}
.note{color:var(--muted);font-size:14px}
.outcome{margin:18px 0 0;padding:11px 16px;border-left:4px solid var(--ok);background:var(--okbg);max-width:none;
 font-size:16px;font-weight:600;border-radius:0 4px 4px 0}
.outcome.bad{border-color:var(--bad);background:var(--badbg)}
.outcome.warn{border-color:var(--warn);background:var(--warnbg)}
nav{margin:16px 0 0;font-size:14px}
nav ul{margin:0;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px}
nav a{display:inline-block;padding:4px 0}
.theme{position:absolute;right:20px;top:30px}
button{font:inherit;color:inherit}
.theme{border:1px solid var(--line);background:var(--soft);border-radius:6px;padding:4px 12px;
 font-size:13px;cursor:pointer;min-height:32px}
dl.figures{margin:20px 0 0;display:grid;grid-template-columns:repeat(4,1fr);gap:1px;background:var(--line);
 border:1px solid var(--line);border-radius:6px;overflow:hidden}
dl.figures div{background:var(--bg);padding:11px 16px 12px}
dl.figures dt{color:var(--muted);font-size:13px}
dl.figures dd{margin:0;font-size:22px;line-height:1.3;font-variant-numeric:tabular-nums;letter-spacing:-.01em}
dl.figures dd.more{font-size:13px;color:var(--muted);letter-spacing:0}
dl.figures .bad{color:var(--bad)}
.two{display:grid;grid-template-columns:1fr 1fr;gap:0 40px}
.two>*{min-width:0}
figure{margin:0 0 14px}
figcaption{font-weight:600;font-size:14px;margin:0 0 4px}
figcaption .key{font-weight:400;color:var(--muted);margin-left:14px;white-space:nowrap}
"""
_DETAIL = """
svg.plot{display:block;width:100%;height:auto}
.narrow{display:none}
svg.swatch{width:11px;height:11px;margin-right:5px;vertical-align:-1px}
svg.share{display:block;width:100%;min-width:50px;height:9px}
.area{fill:var(--area)}.area.failed{fill:var(--badarea)}
path.area.total,path.area.bytes{stroke:var(--edge);stroke-width:1;stroke-linejoin:round}
.rule{stroke:var(--line);stroke-width:1}.rule.base{stroke:var(--muted)}
.tick{fill:var(--muted);font-size:12px;font-variant-numeric:tabular-nums}
.tick.left{text-anchor:end}.tick.under{text-anchor:middle}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--muted);font-size:13px;padding:0 0 6px}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--line);vertical-align:top}
thead th{font-size:13px;color:var(--muted);font-weight:600;white-space:nowrap;vertical-align:bottom}
tbody th{font-weight:400}
th:first-child,td:first-child{padding-left:0}th:last-child,td:last-child{padding-right:0}
.l{text-align:left}
.n{white-space:nowrap}
.bar{width:34%;vertical-align:middle}
td.url,th.url{text-align:left;overflow-wrap:anywhere;min-width:190px}
.mono,td.url,th.url,.examples .u{font-size:13px;
 font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}
thead th.url{font-family:inherit}
td.bad{color:var(--bad)}td.zero{color:var(--muted)}
tfoot td,tfoot th{color:var(--muted);border-bottom:0;font-weight:400}
table.hosts tbody th,table.hosts tfoot th{position:sticky;left:0;background:var(--bg);
 max-width:300px;min-width:130px;overflow-wrap:anywhere}
th button{border:0;background:none;padding:4px 0;position:relative;font-weight:inherit;cursor:pointer;
 white-space:nowrap}
th button:hover{color:var(--ink);text-decoration:underline}
th button::after{content:"";position:absolute;left:100%;padding-left:1px}
th[aria-sort=ascending] button::after{content:"\\2191"}
th[aria-sort=descending] button::after{content:"\\2193"}
th[aria-sort=ascending],th[aria-sort=descending]{color:var(--ink)}
.count{font-weight:400;color:var(--muted);margin-left:8px}
ul.examples{margin:0;padding:0;list-style:none}
ul.examples li{padding:5px 0 6px;border-bottom:1px solid var(--line);display:grid;gap:0 24px;
 grid-template-columns:minmax(0,1fr) auto}
ul.examples.bare li{padding:3px 0}
.examples .u{overflow-wrap:anywhere}
.e{overflow-wrap:anywhere;font-size:14px}
p.e{margin:0 0 4px;max-width:none}
.examples .e{grid-column:1/-1}
.examples .f{color:var(--muted);font-size:13px;overflow-wrap:anywhere;max-width:520px;text-align:right}
.examples .f span+span{margin-left:14px}
ul.examples+h3,ul.examples+.two,ul.examples+p{margin-top:22px}
.scroll+figure{margin-top:20px}
details{border-bottom:1px solid var(--line)}
summary{padding:8px 0;cursor:pointer;font-weight:600}
pre{margin:0 0 12px;padding:12px 14px;background:var(--soft);border-radius:6px;overflow-x:auto;white-space:pre-wrap;
 overflow-wrap:anywhere;font-size:13px;line-height:1.45}
footer{margin-top:48px;padding-top:14px;padding-bottom:40px;color:var(--muted);font-size:13px}
"""
_PHONE = """
@media screen and (max-width:700px){
main,header,footer{padding-left:16px;padding-right:16px}
.two{grid-template-columns:1fr}
dl.figures{grid-template-columns:1fr 1fr}
dl.figures div{padding:9px 12px 10px}
h1{font-size:24px}
.theme{right:16px;top:26px}
.wide{display:none}.narrow{display:block}
.bar{width:26%}
.two>*+*{margin-top:22px}
table{font-size:13px}
th,td{padding:5px}
table.hosts thead th,table.hosts td,table.hosts tbody th{padding-right:12px}
ul.examples li{display:block}
.examples .u,.examples .e{display:block}
.examples .f{display:block;text-align:left;max-width:none}
.examples .f span{margin-right:14px}
.examples .f span+span{margin-left:0}
table.hosts tbody th,table.hosts tfoot th{max-width:150px;min-width:112px;
 font-size:12px}
}
"""
_PRINT = """
@media print{
:root,:root[data-theme]{%s}
body{font-size:10.5pt}
nav,.theme,.skip{display:none}
main,header,footer{max-width:none;padding:0}
h2,h3,figcaption,caption{break-after:avoid}
h2{margin-top:26px}
tr,figure,ul.examples li,dl.figures{break-inside:avoid}
thead{display:table-header-group}
a{color:inherit;text-decoration:none}
.scroll{overflow:visible}
table{font-size:9pt}
.share,.plot,.outcome,dl.figures{-webkit-print-color-adjust:exact;print-color-adjust:exact}
th button::after{content:none!important}
@page{margin:15mm}
}
"""

STYLE = (
    f":root{{{_LIGHT}}}\n@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{_DARK}}}}}\n"
    f":root[data-theme=dark]{{{_DARK}}}\n{_LAYOUT}{_DETAIL}{_PHONE}{_PRINT % _LIGHT}"
)

SCRIPT = """
"use strict";
(() => {
  const root = document.documentElement;
  const theme = document.querySelector("button.theme");
  const wanted = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const dark = () => (root.dataset.theme || wanted()) === "dark";
  const word = () => { theme.textContent = dark() ? "Light colours" : "Dark colours"; };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; word(); });
  word();

  const sort = (table, n, down) => {
    const body = table.tBodies[0];
    const value = (row) => row.cells[n].dataset.v;
    const rows = [...body.rows].map((row, at) => ({row, at, v: value(row)}));
    const sign = down ? -1 : 1;
    rows.sort((a, b) => {
      if (a.v === undefined || b.v === undefined) return (a.v === undefined) - (b.v === undefined) || a.at - b.at;
      const [x, y] = [Number(a.v), Number(b.v)];
      const order = Number.isNaN(x) || Number.isNaN(y) ? (a.v < b.v ? -1 : a.v > b.v ? 1 : 0) : x - y;
      return sign * order || a.at - b.at;
    });
    body.append(...rows.map((each) => each.row));
    [...table.tHead.rows[0].cells].forEach((cell, at) => {
      if (at === n) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((cell, n) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...cell.childNodes);
      cell.append(button);
      button.addEventListener("click", () => {
        const now = cell.getAttribute("aria-sort");
        sort(table, n, now ? now === "ascending" : cell.dataset.first !== "up");
      });
    });
  }

  const closed = () => document.querySelectorAll("details:not([open])");
  let opened = [];
  addEventListener("beforeprint", () => { opened = [...closed()]; opened.forEach((one) => { one.open = true; }); });
  addEventListener("afterprint", () => { opened.forEach((one) => { one.open = false; }); });
})();
"""


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; script-src {_hash(SCRIPT)}; style-src {_hash(STYLE)}; base-uri 'none'; form-action 'none'"
)

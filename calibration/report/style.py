"""The look of the report's page, on a screen and printed."""

STYLE = """
:root { --ink: #1d2733; --muted: #66717e; --line: #e1e6eb; --soft: #f5f7f9; --accent: #0b6fb8;
  --good: #1a7f4b; --usable: #b26a00; --poor: #c0362c; --verdict: var(--muted); }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: #eef1f4; color: var(--ink); line-height: 1.5; font-size: 15px;
  font-family: Inter, "Segoe UI", Roboto, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 32px auto; padding: 44px 52px 36px; background: #fff; border-radius: 10px;
  box-shadow: 0 1px 3px rgba(29, 39, 51, .12); }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -.015em; font-weight: 650; }
h2 { font-size: 19px; line-height: 1.3; margin: 48px 0 4px; letter-spacing: -.008em; font-weight: 650; }
h3 { font-size: 14px; margin: 0 0 7px; font-weight: 600; }
p { margin: 0 0 12px; }
a { color: var(--accent); }
code { font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.meta, .lead, figcaption, .note { color: var(--muted); }
.lead { max-width: 92ch; margin-bottom: 18px; }
.meta { display: flex; flex-wrap: wrap; gap: 2px 22px; font-size: 14px; }
.verdict { margin: 26px 0 22px; border: 1px solid var(--line); border-left: 6px solid var(--verdict);
  border-radius: 8px; padding: 20px 24px; }
.verdict.good { --verdict: var(--good); } .verdict.usable { --verdict: var(--usable); }
.verdict.poor { --verdict: var(--poor); }
.verdict header { display: flex; align-items: baseline; gap: 16px; flex-wrap: wrap; }
.verdict strong { font-size: 25px; line-height: 1.2; color: var(--verdict); font-weight: 700; letter-spacing: -.01em; }
.verdict ol { list-style: none; margin: 16px 0 0; padding: 0; font-size: 14px; }
.verdict ol li { display: grid; grid-template-columns: 1fr 1fr; gap: 28px; padding: 7px 0;
  border-top: 1px solid var(--line); }
.verdict ol li:first-child { border-top: 0; padding: 0 0 4px; }
.verdict ol span { font-size: 12.5px; color: var(--muted); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(178px, 1fr)); border: 1px solid var(--line);
  border-radius: 8px; overflow: hidden; gap: 1px; background: var(--line); }
.tile { background: #fff; padding: 15px 18px 13px; }
.tile b { display: block; font-size: 25px; line-height: 1.25; font-weight: 650; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }
.tile b small { font-size: 14px; font-weight: 500; color: var(--muted); letter-spacing: 0; margin-left: 3px; }
.tile h3 { margin: 0; font-size: 13px; color: var(--muted); font-weight: 500; }
.tile p { font-size: 12.5px; line-height: 1.4; color: var(--muted); margin: 4px 0 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; width: 100%; }
th { font-weight: 500; color: var(--muted); font-size: 12.5px; text-align: right; vertical-align: bottom;
  line-height: 1.3; }
th, td { padding: 8px 10px; border-bottom: 1px solid var(--line); }
td { text-align: right; white-space: nowrap; }
th:first-child, td:first-child, .text { text-align: left; }
th:first-child, td:first-child { padding-left: 2px; }
td i { font-style: normal; color: var(--muted); font-size: 12.5px; }
td.text { white-space: normal; }
tbody tr:last-child td { border-bottom: 0; }
.dot { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 8px; }
.grid { display: grid; gap: 24px; } .two { grid-template-columns: 1fr 1fr; }
.three { grid-template-columns: repeat(3, 1fr); } .four { grid-template-columns: repeat(4, 1fr); }
.links { align-items: center; margin-top: 8px; }
.one { max-width: 520px; margin-left: auto; margin-right: auto; }
figure { margin: 0; min-width: 0; break-inside: avoid; }
figcaption { font-size: 13px; margin-top: 5px; }
figure h3 { display: flex; justify-content: space-between; gap: 8px; }
figure h3 i { font-style: normal; font-weight: 400; color: var(--muted); font-size: 13px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
section { break-inside: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 7px 22px; margin: 0; font-size: 14px; }
dt { font-weight: 600; } dd { margin: 0; color: var(--muted); max-width: 82ch; }
.warnings { background: #fdf6e9; border-radius: 8px; padding: 12px 18px; margin: 18px 0 0; font-size: 14px; }
.warnings ul { margin: 0; padding-left: 18px; }
.command { background: var(--soft); border-radius: 6px; padding: 10px 14px; overflow-x: auto; white-space: pre-wrap; }
footer { margin-top: 44px; padding-top: 16px; border-top: 1px solid var(--line); color: var(--muted); font-size: 13px; }
@media screen and (max-width: 820px) { main { margin: 0; padding: 24px 18px; border-radius: 0; }
  .two, .verdict ol li { grid-template-columns: 1fr; gap: 12px; }
  .three, .four { grid-template-columns: 1fr 1fr; }
  dl { grid-template-columns: 1fr; gap: 2px; } dd { margin-bottom: 8px; } }
@media print { @page { size: A4; margin: 14mm 12mm; } body { background: #fff; font-size: 12px; }
  main { max-width: none; margin: 0; padding: 0; box-shadow: none; } h2 { margin-top: 26px; break-after: avoid; }
  .tiles { grid-template-columns: repeat(5, 1fr); } .tile { padding: 10px 11px; } .grid { gap: 14px; }
  dl { font-size: 12px; } .verdict { margin: 16px 0; padding: 14px 18px; } .verdict ol { font-size: 12px; }
  .lead { break-after: avoid; break-inside: avoid; } .tile p { font-size: 10.5px; } .tile b { font-size: 20px; }
  th, td { padding: 5px 6px; } table { font-size: 11.5px; }
  th, td i { font-size: 10.5px; } .scroll { overflow: visible; } .verdict, .tile, tr, li { break-inside: avoid; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""

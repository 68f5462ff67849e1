// The standard works in node: replace with a regular expression, and the text
// split once and joined as one string.
"use strict";
const fs = require("fs");
const dir = process.argv[2];

const escapeJson = (s) => JSON.stringify(s).slice(1, -1);
const escapeUrl = (s) =>
  encodeURIComponent(s).replace(/[!'()*]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase());

function replaceRenderer(work) {
  const escape = work.mode === "json" ? escapeJson : escapeUrl;
  return (event) =>
    work.template.replace(/\[([A-Z0-9_]+)\]/g, (whole, name) => {
      const value = event[name];
      return value === undefined ? whole : escape(value);
    });
}

function splitRenderer(work) {
  const escape = work.mode === "json" ? escapeJson : escapeUrl;
  const unsafe = work.mode === "json" ? /[\x00-\x1f"\\]/ : /[^A-Za-z0-9\-._~]/;
  const parts = work.template.split(/\[([A-Z0-9_]+)\]/);
  return (event) => {
    let out = parts[0];
    for (let i = 1; i < parts.length; i += 2) {
      const value = event[parts[i]];
      if (value === undefined) out += "[" + parts[i] + "]";
      else out += unsafe.test(value) ? escape(value) : value;
      out += parts[i + 1];
    }
    return out;
  };
}

// A rendered string may be a rope; the wire needs its bytes.
const wire = Buffer.alloc(1 << 20);

function measure(render, events) {
  const pass = () => {
    for (const event of events) wire.write(render(event), 0, "utf8");
  };
  for (let i = 0; i < 3; i++) pass();
  let start = process.hrtime.bigint();
  pass();
  const passes = Number(20_000_000n / (process.hrtime.bigint() - start + 1n)) + 1;
  const figures = [];
  for (let round = 0; round < 9; round++) {
    start = process.hrtime.bigint();
    for (let i = 0; i < passes; i++) pass();
    figures.push(Number(process.hrtime.bigint() - start) / (passes * events.length));
  }
  return figures.sort((a, b) => a - b)[4];
}

const results = { node_replace: {}, node_best: {} };
for (const work of JSON.parse(fs.readFileSync(dir + "/works.json", "utf8"))) {
  const want = fs.readFileSync(dir + "/out/ref." + work.name, "utf8");
  const renderers = { node_replace: replaceRenderer(work), node_best: splitRenderer(work) };
  for (const [name, render] of Object.entries(renderers)) {
    if (work.events.map(render).join("") !== want) throw new Error(`${name}: wrong output of ${work.name}`);
    results[name][work.name] = measure(render, work.events);
  }
}
console.log(JSON.stringify(results));

// Runs the script of the map's page with as much of a document as it needs: node map_page.js map.svg map.js
'use strict';
const assert = require('assert'), fs = require('fs');
const svg = fs.readFileSync(process.argv[2], 'utf8'), script = fs.readFileSync(process.argv[3], 'utf8');

function element(attributes) {
  const listeners = {}, children = [];
  return {
    style: {}, hidden: true, value: '', children, textContent: '',
    getAttribute: (name) => name in attributes ? attributes[name] : null,
    hasAttribute: (name) => name in attributes,
    setAttribute: (name, value) => { attributes[name] = String(value); },
    appendChild: (child) => children.push(child),
    addEventListener: (type, fn) => { listeners[type] = fn; },
    tell: (type, event) => listeners[type](event || {}),
  };
}

function attributesOf(tag) {
  const attributes = {};
  for (const [, name, value] of tag.matchAll(/ ([a-z-]+)="([^"]*)"/g))
    attributes[name] = value;
  return attributes;
}

const cells = [...svg.matchAll(/<g( data-kind[^>]*)>(.*?)<\/g>/gs)].map(([, tag, inside]) => {
  const g = element(attributesOf(tag));
  const title = {textContent: inside.match(/<title>(.*)<\/title>/)[1]};
  const rects = [...inside.matchAll(/<rect([^>]*)\/>/g)].map(([, rect]) => element(attributesOf(rect)));
  g.querySelector = () => title;
  g.querySelectorAll = () => rects;
  return g;
});
assert(cells.length > 60);
const byId = {}, root = element({width: '880'});
for (const id of ['kind', 'class', 'node', 'least', 'text', 'zoom', 'shade', 'count', 'percent', 'controls', 'view'])
  byId[id] = element({});
byId.least.value = '0';
byId.zoom.value = '100';
const document = {
  getElementById: (id) => { assert(byId[id], 'no element ' + id); return byId[id]; },
  querySelector: (what) => { assert.strictEqual(what, 'svg'); return root; },
  querySelectorAll: (what) => { assert.strictEqual(what, 'g[data-kind]'); return cells; },
  createElement: () => element({}),
};
new Function('document', script)(document);

const shown = () => cells.filter((g) => g.getAttribute('class') !== 'out');
const input = (id, value) => { byId[id].value = value; byId[id].tell('input'); };
assert.strictEqual(byId.controls.hidden, false);
assert.strictEqual(shown().length, cells.length);

// Filters: alone, together, and taken back.
assert(byId.class.children.length > 5 && byId.kind.children.length >= 2);
input('kind', 'slab');
assert(shown().length > 0 && shown().every((g) => g.getAttribute('data-kind') === 'slab'));
const someClass = shown()[0].getAttribute('data-class');
input('class', someClass);
assert(shown().length > 0 && shown().every((g) => g.getAttribute('data-class') === someClass));
assert.strictEqual(byId.count.textContent.split(' ')[0], String(shown().length));
input('class', '');
input('kind', '');
input('least', '50');
assert(shown().length > 0 && shown().length < cells.length);
assert(shown().every((g) => +g.getAttribute('data-fill') >= 50));
input('least', '0');
input('text', 'HUGE block');
assert(shown().length > 0 && shown().every((g) => g.getAttribute('data-kind') === 'huge'));
input('text', '');
assert.strictEqual(shown().length, cells.length);

// Zoom, by the slider and by the wheel.
input('zoom', '200');
assert.strictEqual(root.style.width, '1760px');
let isPrevented = false;
byId.view.tell('wheel', {ctrlKey: true, deltaY: -1, preventDefault: () => { isPrevented = true; }});
assert(isPrevented && root.style.width === '2200px', root.style.width);

// Shades of green by fill, and the own colours again.
const colours = () => cells.map((g) => g.querySelectorAll().map((r) => r.getAttribute('fill')).join());
const own = colours();
byId.shade.checked = true;
byId.shade.tell('input');
assert(colours().every((c) => c.startsWith('hsl(140,')) && new Set(colours()).size > 10);
byId.shade.checked = false;
byId.shade.tell('input');
assert.deepStrictEqual(colours(), own);

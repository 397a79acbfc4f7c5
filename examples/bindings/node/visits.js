const { root, renew, block } = require('./visits.node');
const visits = root(process.argv[2], 'visits', 16), words = new BigUint64Array(visits);
const text = (buffer) => new TextDecoder().decode(buffer).split('\0')[0];
const found = words[1] ? text(block(words[1])) : 'nothing';
console.log(`Node is number ${Atomics.add(words, 0, 1n) + 1n}, finds ${found}`);
new TextEncoder().encodeInto('a note from Node', new Uint8Array(renew(visits, 1, 32)));

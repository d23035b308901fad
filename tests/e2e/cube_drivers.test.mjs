// The queries and answers of Cube's own driver tests (cubejs-testing-drivers), asked through an unmodified client.
// `data/cube/drivers` holds them as data: the model, the queries, and the rows that Cube over PostgreSQL answered.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { createRequire } from 'node:module';
import { cubeUrl, token } from './support/env.mjs';

const cube = createRequire(import.meta.url)('cubejs-core-1').default;
const folder = new URL('../../data/cube/drivers/', import.meta.url);
const cases = JSON.parse(readFileSync(new URL('cases.json', folder), 'utf8'));
const client = cube(token('site', { seconds: 3600 }), { apiUrl: cubeUrl });

/** Names of cases that do not apply, or are not answered, with the reasons. */
const excepted = new Map(
  readFileSync(new URL('differences.txt', folder), 'utf8').split('\n')
    .filter((line) => line && !line.startsWith('#')).map((line) => line.split('\t')),
);
const unused = new Set(excepted.keys());

const isNumber = (text) => text !== '' && Number.isFinite(Number(text));

/** A cell in a form that compares: numbers by value, since drivers write them differently. */
function cell(value) {
  if (typeof value === 'number') return Number(value.toPrecision(10));
  if (typeof value === 'string' && isNumber(value)) return Number(Number(value).toPrecision(10));
  return value;
}

const row = (cells) => JSON.stringify(Object.entries(cells).map(([member, value]) => [member, cell(value)]).sort());

/** The columns that fix the order of rows: those the query orders by, else Cube's default. */
function orderColumns(query, rows) {
  const measures = query.measures ?? [];
  const dimensions = query.dimensions ?? [];
  const bucketed = (query.timeDimensions ?? []).find((time) => time.granularity);
  const ids = query.order ? (Array.isArray(query.order) ? query.order.map(([id]) => id) : Object.keys(query.order))
    : bucketed ? [bucketed.dimension]
      : measures.length && dimensions.length ? [measures[0]]
        : dimensions.slice(0, 1);
  return ids.filter((id) => rows.some((cells) => id in cells));
}

function check({ query, rows }, got) {
  const name = (cells, ids) => JSON.stringify(ids.map((id) => cell(cells[id])));
  assert.deepEqual(got.map(row).sort(), rows.map(row).sort(), 'the same rows');
  const ids = orderColumns(query, rows);
  assert.deepEqual(got.map((cells) => name(cells, ids)), rows.map((cells) => name(cells, ids)), `in the order of ${ids}`);
}

before(async () => assert.notEqual(cases.length, 0));

for (const given of cases) {
  const reason = excepted.get(given.name);
  test(given.name + (reason ? ` (differs: ${reason})` : ''), async () => {
    let failure;
    try {
      const resultSet = await client.load(given.query);
      check(given, resultSet.rawData());
      if (given.query.total && !given.query.limit && !given.query.offset) {
        assert.equal(resultSet.totalRows(), given.rows.length);
      }
    } catch (error) {
      failure = error;
    }
    unused.delete(given.name);
    if (reason) assert.ok(failure, `${given.name} is listed in differences.txt, but no longer different`);
    else if (failure) throw failure;
  });
}

test('must not fetch a hidden cube', async () => {
  const meta = await client.meta();
  assert.equal(meta.cubes.find((one) => one.name === 'HiddenECommerce'), undefined);
});

test('must throw if a hidden member was requested', async () => {
  await assert.rejects(client.load({ measures: ['ECommerce.hiddenSum'] }), /hidden/);
});

after(() => assert.deepEqual([...unused], [], 'differences.txt names cases that do not exist'));

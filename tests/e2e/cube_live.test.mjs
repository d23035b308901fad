// Unmodified clients over the other ways to ask: WebSocket, GraphQL and SQL.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createRequire } from 'node:module';
import { GraphQLClient, gql } from 'graphql-request';
import { baseUrl, cubeUrl, token } from './support/env.mjs';
import { days, isoDay, makeSite, postSite } from './support/site.mjs';

const require = createRequire(import.meta.url);
const cube = require('cubejs-core-1').default;
const WebSocketTransport = require('@cubejs-client/ws-transport');
const PROJECT = 'site';
const COUNT = { measures: ['TrackedEvents.count'] };
const PAGES = { measures: ['TrackedEvents.count'], dimensions: ['TrackedEvents.pageUrlpath'], order: { 'TrackedEvents.pageUrlpath': 'asc' } };

const all = makeSite();
const events = all.slice(0, -20);
const later = all.slice(-20);
const perPage = new Map();
for (const event of events) perPage.set(event.path, (perPage.get(event.path) ?? 0) + 1);
const pages = [...perPage].sort(([a], [b]) => (a < b ? -1 : 1));

before(() => postSite(baseUrl, events, 'site-app'));

const countOf = (resultSet) => Number(resultSet.rawData()[0]['TrackedEvents.count']);

/** Waits for a callback at most ten seconds. */
function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ten seconds`)), 10_000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

describe('GraphQL', () => {
  const client = (authorization = token(PROJECT)) => new GraphQLClient(`${baseUrl}/cubejs-api/graphql`, { headers: { authorization } });

  test('measures by a dimension', async () => {
    const query = gql`
      query Pages($limit: Int) {
        cube(limit: $limit) {
          trackedEvents(orderBy: { pageUrlpath: asc }) { count pageUrlpath }
        }
      }`;
    const { cube: rows } = await client().request(query, { limit: 100 });
    assert.deepEqual(rows.map(({ trackedEvents: row }) => [row.pageUrlpath, row.count]), pages);
  });

  test('a time dimension and a filter', async () => {
    const range = days().map(isoDay);
    const query = gql`
      query Daily($range: [String]) {
        cube(where: { trackedEvents: { derivedTstamp: { inDateRange: $range }, pageUrlpath: { equals: "/pricing" } } }) {
          trackedEvents { count derivedTstamp { day } }
        }
      }`;
    const { cube: rows } = await client().request(query, { range: [range[2], range[8]] });
    const expected = new Map();
    for (const event of events) {
      const day = isoDay(event.at);
      if (event.path === '/pricing' && day >= range[2] && day <= range[8]) expected.set(day, (expected.get(day) ?? 0) + 1);
    }
    const got = rows.map(({ trackedEvents: row }) => [row.derivedTstamp.day.slice(0, 10), row.count]);
    assert.deepEqual(new Map(got), new Map([...expected].sort()));
  });

  test('a wrong field and a wrong token', async () => {
    await assert.rejects(client().request('{ cube { trackedEvents { nonesuch } } }'), /nonesuch/);
    await assert.rejects(client('forged').request('{ cube { trackedEvents { count } } }'), /Invalid token/);
  });
});

describe('SQL through client-core', () => {
  const client = cube(token(PROJECT), { apiUrl: cubeUrl });
  const sql = 'SELECT pageUrlpath, MEASURE(count) AS n FROM TrackedEvents GROUP BY 1 ORDER BY 1';

  test('cubeSql', async () => {
    const { schema, data } = await client.cubeSql(sql);
    assert.deepEqual(schema.map((column) => column.name), ['pageUrlpath', 'n']);
    assert.deepEqual(data.map(([page, n]) => [page, Number(n)]), pages);
  });

  test('cubeSqlStream', async () => {
    const chunks = [];
    for await (const chunk of client.cubeSqlStream(sql)) chunks.push(chunk);
    assert.equal(chunks[0].type, 'schema');
    assert.deepEqual(chunks.filter((chunk) => chunk.type === 'data').flatMap((chunk) => chunk.data).map(([page, n]) => [page, Number(n)]), pages);
  });

  test('nothing found is an empty table', async () => {
    const { data } = await client.cubeSql("SELECT pageUrlpath FROM TrackedEvents WHERE pageUrlpath = '/nonesuch' GROUP BY 1");
    assert.deepEqual(data, []);
  });

  test('an error', async () => {
    await assert.rejects(client.cubeSql('SELECT nonesuch FROM TrackedEvents'), /nonesuch/);
  });
});

describe('@cubejs-client/ws-transport', () => {
  const transports = [];
  const client = (authorization = token(PROJECT)) => {
    const transport = new WebSocketTransport({ authorization, apiUrl: baseUrl.replace('http:', 'ws:') });
    transports.push(transport);
    return cube({ transport });
  };
  after(() => Promise.all(transports.map((transport) => transport.close())));

  test('load', async () => {
    const resultSet = await within(client().load(PAGES), 'an answer');
    assert.deepEqual(resultSet.rawData().map((row) => [row['TrackedEvents.pageUrlpath'], Number(row['TrackedEvents.count'])]), pages);
  });

  test('several requests on one connection', async () => {
    const one = client();
    const answers = await within(Promise.all([one.load(COUNT), one.load(PAGES), one.load(COUNT)]), 'answers');
    assert.equal(countOf(answers[0]), events.length);
    assert.equal(answers[1].rawData().length, pages.length);
    assert.equal(countOf(answers[2]), events.length);
  });

  test('meta, sql and dryRun', async () => {
    const one = client();
    assert.ok((await within(one.meta(), 'the model')).cubes.some((c) => c.name === 'TrackedEvents'));
    assert.equal(typeof (await within(one.sql(COUNT), 'the SQL')).sql(), 'string');
    assert.equal((await within(one.dryRun(COUNT), 'the dry run')).queryType, 'regularQuery');
  });

  test('an error', async () => {
    await assert.rejects(within(client().load({ measures: ['TrackedEvents.nonesuch'] }), 'an error'), /'nonesuch' not found/);
  });

  test('a subscription gets an answer, and another when events have come', async () => {
    const counts = [];
    let arrived = () => {};
    const next = (count) => within(new Promise((resolve, reject) => {
      const check = () => (counts.includes(count) ? resolve() : undefined);
      arrived = (error) => (error ? reject(error) : check());
      check();
    }), `the count ${count}`);
    const subscription = client().subscribe(COUNT, { subscribe: true }, (error, resultSet) => {
      if (!error) counts.push(countOf(resultSet));
      arrived(error);
    });
    await next(events.length);
    await postSite(baseUrl, later, 'site-app');
    await next(all.length);
    await subscription.unsubscribe?.();
    assert.deepEqual([...counts].sort((a, b) => a - b), counts, 'counts only grow');
  });

  test('a wrong token gets no answer', async () => {
    const refused = client('forged').load(COUNT).then(() => 'answered', (error) => String(error.message));
    const silent = new Promise((resolve) => { setTimeout(() => resolve('silent'), 2000); });
    assert.notEqual(await Promise.race([refused, silent]), 'answered');
  });
});

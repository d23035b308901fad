// Unmodified Cube clients of three generations load what GitLab's dashboards load, and the pivots they make of the
// answers are compared with figures computed here from the very events that were posted.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { createRequire } from 'node:module';
import { ask, baseUrl, cubeUrl, token } from './support/env.mjs';
import { days, expectedFigures, expectedFunnel, isoDay, makeSite, postSite } from './support/site.mjs';
import { GENERATIONS, gitlabQueries } from './support/gitlab_queries.mjs';

const require = createRequire(import.meta.url);
const PROJECT = 'site';
const APP_ID = 'site-app';
const STEPS = ['/page1.html', '/page2.html', '/page3.html'];
const DAY = 86_400_000;

const CLIENTS = {
  '0.31': require('cubejs-core-0-31').default,
  '0.35': require('cubejs-core-0-35').default,
  '1.x': (await import('cubejs-core-1')).default,
};

const range = days().map(isoDay);
const [from, to] = [range[2], range[8]];
const events = makeSite();
const figures = expectedFigures(events, from, to);
const midnight = (day) => `${day}T00:00:00.000`;

before(async () => {
  await postSite(baseUrl, events, APP_ID);
});

/** All days between the first and the last key, as the client fills them. */
function filled(perDay) {
  const known = [...perDay.keys()].sort();
  const list = [];
  for (let day = Date.parse(known[0]); day <= Date.parse(known.at(-1)); day += DAY) list.push(isoDay(day));
  return list;
}

function checkSingle(resultSet, measure, expected) {
  assert.equal(resultSet.rawData().length, 1);
  const cell = resultSet.rawData()[0][measure];
  assert.equal(typeof cell, 'string', 'numbers travel as strings');
  assert.ok(Math.abs(Number(cell) - expected) < 1e-9 * Math.max(1, expected), `${measure}: ${cell} is not ${expected}`);
  const [pivoted] = resultSet.chartPivot();
  assert.ok(Math.abs(pivoted[measure] - Number(cell)) < 1e-9);
  assert.deepEqual(resultSet.tablePivot(), [{ [measure]: cell }]);
}

function checkDaily(resultSet, time, measure, expected) {
  const rows = resultSet.rawData();
  assert.deepEqual(new Map(rows.map((row) => [row[`${time}.day`].slice(0, 10), Number(row[measure])])), new Map([...expected].sort()));
  for (const row of rows) {
    assert.match(row[`${time}.day`], /^\d{4}-\d\d-\d\dT00:00:00\.000$/);
    assert.equal(row[time], row[`${time}.day`]);
    assert.equal(typeof row[measure], 'string');
  }
  const points = filled(expected);
  const pivot = resultSet.chartPivot();
  assert.deepEqual(pivot.map((point) => point.x), points.map(midnight));
  assert.deepEqual(pivot.map((point) => point[measure]), points.map((day) => expected.get(day) ?? 0));
  const [series] = resultSet.series();
  assert.equal(series.key, measure);
  assert.deepEqual(series.series.map((point) => point.value), points.map((day) => expected.get(day) ?? 0));
  assert.deepEqual(resultSet.seriesNames().map((name) => name.key), [measure]);
  assert.equal(resultSet.tablePivot().length, points.length);
}

function checkTable(resultSet, dimensions, measure, expected, keyOf) {
  const rows = resultSet.tablePivot();
  const sums = new Map();
  for (const row of rows) sums.set(keyOf(row), (sums.get(keyOf(row)) ?? 0) + Number(row[measure]));
  assert.deepEqual(new Map([...sums].sort()), new Map([...expected].sort()));
  assert.deepEqual(resultSet.tableColumns().map((column) => column.key), [...dimensions, measure]);
  const counts = resultSet.rawData().map((row) => Number(row[measure]));
  assert.deepEqual(counts, [...counts].sort((a, b) => b - a), 'largest first when no order is asked');
}

function checkBuiltIn(slug, resultSet, generation) {
  const { events: cube, sessions, browser } = GENERATIONS[generation];
  const names = (list, of) => list.map((name) => `${of}.${name}`);
  const agent = names(browser, cube);
  const sessionAgent = names(['agentName', 'agentVersion'], sessions);
  const page = names(['pageUrlpath', 'pageUrl'], cube);
  const checks = {
    total_unique_users: () => checkSingle(resultSet, `${cube}.uniqueUsersCount`, figures.users),
    daily_active_users: () => checkDaily(resultSet, `${cube}.derivedTstamp`, `${cube}.uniqueUsersCount`, figures.usersPerDay),
    browsers_per_users: () => checkTable(resultSet, agent, `${cube}.uniqueUsersCount`, figures.usersPerBrowser, (row) => row[agent[0]]),
    total_events: () => checkSingle(resultSet, `${cube}.count`, figures.events),
    events_over_time: () => checkDaily(resultSet, `${cube}.derivedTstamp`, `${cube}.count`, figures.eventsPerDay),
    total_pageviews: () => checkSingle(resultSet, `${cube}.pageViewsCount`, figures.views),
    page_views_over_time: () => checkDaily(resultSet, `${cube}.derivedTstamp`, `${cube}.pageViewsCount`, figures.viewsPerDay),
    top_pages: () => checkTable(resultSet, page, `${cube}.pageViewsCount`, figures.viewsPerPage, (row) => `${row[page[0]]} ${row[page[1]]}`),
    total_sessions: () => checkSingle(resultSet, `${sessions}.count`, figures.sessions),
    sessions_over_time: () => checkDaily(resultSet, `${sessions}.startAt`, `${sessions}.count`, figures.sessionsPerDay),
    sessions_per_browser: () => checkTable(resultSet, sessionAgent, `${sessions}.count`, figures.sessionsPerBrowser, (row) => row[sessionAgent[0]]),
    average_session_duration: () => checkSingle(resultSet, `${sessions}.averageDurationMinutes`, figures.averageMinutes),
    average_sessions_per_user: () => checkSingle(resultSet, `${sessions}.averagePerUser`, figures.sessionsPerUser),
    returning_users_percentage: () => checkSingle(resultSet, `${sessions}.repeatPercent`, figures.repeatPercent),
  };
  checks[slug]();
}

for (const [version, cube] of Object.entries(CLIENTS)) {
  const client = (project = PROJECT, options = {}) => cube(token(project), { apiUrl: cubeUrl, ...options });

  describe(`@cubejs-client/core ${version}`, () => {
    for (const generation of Object.keys(GENERATIONS)) {
      for (const [slug, query] of Object.entries(gitlabQueries(generation, from, to))) {
        test(`${generation} ${slug}`, async () => checkBuiltIn(slug, await client().load(query), generation));
      }
    }

    test('POST gives the same answer as GET', async () => {
      const query = gitlabQueries('current', from, to).top_pages;
      const viaGet = await client().load(query);
      const viaPost = await client(PROJECT, { method: 'POST' }).load(query);
      assert.deepEqual(viaPost.rawData(), viaGet.rawData());
    });

    test('days without data are filled from timeDimensions.dateRange', async () => {
      const query = { measures: ['TrackedEvents.count'], timeDimensions: [{ dimension: 'TrackedEvents.derivedTstamp', granularity: 'day', dateRange: [range[3], range[5]] }], timezone: 'UTC' };
      const resultSet = await client().load(query);
      const all = expectedFigures(events, range[3], range[5]).eventsPerDay;
      assert.deepEqual(resultSet.chartPivot().map((p) => [p.x, p['TrackedEvents.count']]), range.slice(3, 6).map((day) => [midnight(day), all.get(day) ?? 0]));
      assert.deepEqual(resultSet.query().timeDimensions[0].dateRange, [midnight(range[3]), `${range[5]}T23:59:59.999`]);
    });

    test('a pivot over a dimension makes one series per value', async () => {
      const query = { measures: ['TrackedEvents.count'], dimensions: ['TrackedEvents.agentName'], timeDimensions: [{ dimension: 'TrackedEvents.derivedTstamp', granularity: 'day', dateRange: [from, to] }] };
      const resultSet = await client().load(query);
      const wanted = events.filter((e) => isoDay(e.at) >= from && isoDay(e.at) <= to);
      for (const series of resultSet.series()) {
        const name = series.key.split(',')[0];
        const sum = series.series.reduce((total, point) => total + point.value, 0);
        assert.equal(sum, wanted.filter((e) => e.browser.name === name).length, series.key);
      }
      assert.equal(resultSet.series().length, new Set(wanted.map((e) => e.browser.name)).size);
    });

    if (version !== '0.31') {
      test('castNumerics makes numbers of the strings', async () => {
        const resultSet = await client().load(gitlabQueries('current', from, to).total_events, { castNumerics: true });
        assert.deepEqual(resultSet.rawData(), [{ 'TrackedEvents.count': figures.events }]);
      });
    }

    test('titles are the ones GitLab makes column names of', async () => {
      const resultSet = await client().load(gitlabQueries('current', from, to).top_pages);
      const column = resultSet.tableColumns().find((c) => c.key === 'TrackedEvents.pageViewsCount');
      assert.equal(column.title, 'Tracked Events Page Views Count');
      assert.equal(column.shortTitle, 'Page Views Count');
    });

    test('the seed page’s funnel query, ordered by another funnel’s name', async () => {
      const before = isoDay(Date.parse(to) + DAY);
      const query = {
        measures: ['signup_flow.count'], order: { 'completed_purchase.count': 'desc' }, dimensions: ['signup_flow.step'],
        filters: [{ member: 'signup_flow.date', operator: 'beforeDate', values: [before] }],
      };
      const resultSet = await client().load(query);
      const got = new Map(resultSet.tablePivot().map((row) => [Number(row['signup_flow.step']), Number(row['signup_flow.count'])]));
      const expected = expectedFunnel(events, ['/', '/pricing', '/docs/start'], 1800, (at) => at < Date.parse(before));
      assert.deepEqual(new Map([...got].sort()), new Map(expected.map((count, n) => [n + 1, count])));
    });

    test('a funnel over a date range', async () => {
      const query = {
        measures: ['completed_purchase.count'], dimensions: ['completed_purchase.step'], order: { 'completed_purchase.step': 'asc' },
        filters: [{ member: 'completed_purchase.date', operator: 'inDateRange', values: [from, to] }], limit: 100, timezone: 'UTC',
      };
      const resultSet = await client().load(query);
      const inside = (at) => isoDay(at) >= from && isoDay(at) <= to;
      const expected = expectedFunnel(events, STEPS, 3600, inside);
      assert.ok(expected[2] > 0 && expected[2] < expected[0], 'the data must make an interesting funnel');
      assert.deepEqual(resultSet.chartPivot().map((point) => point['completed_purchase.count']), expected);
      assert.deepEqual(resultSet.chartPivot().map((point) => point.x), ['1', '2', '3']);
    });

    test('meta', async () => {
      const meta = await client().meta();
      const names = meta.cubes.map((c) => c.name);
      for (const name of ['TrackedEvents', 'Sessions', 'ReturningUsers', 'completed_purchase']) assert.ok(names.includes(name), `${name} is in ${names}`);
      assert.equal(meta.defaultTimeDimensionNameFor('Sessions.count').split('.')[0], 'Sessions');
      const member = meta.resolveMember('TrackedEvents.pageViewsCount', 'measures');
      assert.equal(member.shortTitle, 'Page Views Count');
      assert.equal(meta.resolveMember('TrackedEvents.derivedTstamp', 'dimensions').type, 'time');
    });

    test('sql and dryRun', async () => {
      const query = gitlabQueries('current', from, to).events_over_time;
      const sql = await client().sql(query);
      assert.equal(typeof sql.sql(), 'string');
      assert.notEqual(sql.sql(), '');
      const dry = await client().dryRun(query);
      assert.equal(dry.queryType, 'regularQuery');
      assert.deepEqual(dry.normalizedQueries[0].measures, ['TrackedEvents.count']);
      assert.deepEqual(dry.pivotQuery.measures, ['TrackedEvents.count']);
      assert.ok(Array.isArray(dry.queryOrder));
    });

    test('errors carry Cube’s status and text', async () => {
      const unknown = client().load({ measures: ['TrackedEvents.nonesuch'] });
      await assert.rejects(unknown, (error) => {
        assert.equal(error.message, "'nonesuch' not found for path 'TrackedEvents.nonesuch'");
        if (error.status !== undefined) assert.equal(error.status, 400);
        return true;
      });
      await assert.rejects(client().load({ measures: ['Nonesuch.count'] }), { message: "Cube 'Nonesuch' not found for path 'Nonesuch.count'" });
      const forged = cube(token(PROJECT, { key: 'x'.repeat(32) }), { apiUrl: cubeUrl });
      await assert.rejects(forged.load({ measures: ['TrackedEvents.count'] }), { message: 'Invalid token' });
      const expired = cube(token(PROJECT, { seconds: -300 }), { apiUrl: cubeUrl });
      await assert.rejects(expired.meta(), { message: 'Invalid token' });
    });

    test('another project’s token sees nothing of this one', async () => {
      const resultSet = await client('stranger').load({ measures: ['TrackedEvents.count'] });
      assert.deepEqual(resultSet.rawData(), [{ 'TrackedEvents.count': '0' }]);
      const pages = await client('stranger').load({ dimensions: ['TrackedEvents.pageUrl'] });
      assert.deepEqual(pages.rawData(), []);
    });
  });
}

test('a GitLab project id selects its project', async () => {
  assert.equal(Number((await ask('gitlab_project_7', { measures: ['TrackedEvents.count'] }))[0]['TrackedEvents.count']), 0);
});

test('the names of the Jitsu time still answer', async () => {
  const views = events.filter((e) => isoDay(e.at) >= from && isoDay(e.at) <= to);
  const rows = await ask(PROJECT, { measures: ['Jitsu.count'], dimensions: ['Jitsu.docPath'], filters: [{ member: 'Jitsu.utcTime', operator: 'inDateRange', values: [from, to] }] });
  for (const row of rows) assert.equal(Number(row['Jitsu.count']), views.filter((e) => e.path === row['Jitsu.docPath']).length);
  assert.equal(rows.length, new Set(views.map((e) => e.path)).size);
});

test('a day-filling proxy adds nothing wrong: rows have the exact midnight form', async () => {
  const reply = await fetch(`${cubeUrl}/load`, {
    method: 'POST', headers: { authorization: token(PROJECT), 'content-type': 'application/json' },
    body: JSON.stringify({ query: gitlabQueries('current', from, to).events_over_time, queryType: 'multi' }),
  });
  const { results } = await reply.json();
  assert.ok(Array.isArray(results) && Array.isArray(results[0].data));
  const have = new Set(results[0].data.map((row) => row['TrackedEvents.derivedTstamp.day']));
  assert.deepEqual([...have].sort(), [...figures.eventsPerDay.keys()].sort().map(midnight));
});

// Unmodified component libraries of Cube, in jsdom: React hooks and components, Vue components.

import { place, until } from './support/browser.mjs';
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { createRequire } from 'node:module';
import { baseUrl, cubeUrl, token } from './support/env.mjs';
import { days, isoDay, makeSite, postSite } from './support/site.mjs';

const require = createRequire(import.meta.url);
const PROJECT = 'site';
const events = makeSite();
const range = days().map(isoDay);
const [from, to] = [range[2], range[8]];
const inside = events.filter((e) => isoDay(e.at) >= from && isoDay(e.at) <= to);
const perDay = new Map();
for (const event of inside) perDay.set(isoDay(event.at), (perDay.get(isoDay(event.at)) ?? 0) + 1);
const DAILY = { measures: ['TrackedEvents.count'], timeDimensions: [{ dimension: 'TrackedEvents.derivedTstamp', granularity: 'day', dateRange: [from, to] }] };
const WRONG = { measures: ['TrackedEvents.nonesuch'] };
const NOT_FOUND = "'nonesuch' not found for path 'TrackedEvents.nonesuch'";

before(() => postSite(baseUrl, events, 'site-app'));

/** The counts of every day of the range, gaps filled, as a chart gets them. */
function checkDaily(resultSet) {
  const points = resultSet.chartPivot();
  assert.equal(points.length, 7);
  for (const point of points) assert.equal(point['TrackedEvents.count'], perDay.get(point.x.slice(0, 10)) ?? 0);
}

describe('@cubejs-client/react', () => {
  const React = require('react');
  const { createRoot } = require('react-dom/client');
  const lib = require('@cubejs-client/react');
  const cube = createRequire(require.resolve('@cubejs-client/react'))('@cubejs-client/core').default;
  const cubeApi = cube(token(PROJECT), { apiUrl: cubeUrl });

  /** Renders what `hook` gives until `done` accepts it. */
  async function rendered(hook, done, what) {
    let latest;
    const Probe = () => {
      latest = hook();
      return null;
    };
    const root = createRoot(place());
    root.render(React.createElement(lib.CubeProvider, { cubeApi }, React.createElement(Probe)));
    await until(() => latest !== undefined && done(latest), what);
    root.unmount();
    return latest;
  }

  test('useCubeQuery', async () => {
    const { resultSet, error, isLoading } = await rendered(() => lib.useCubeQuery(DAILY), (r) => r.resultSet || r.error, 'a result');
    assert.equal(error, null);
    assert.equal(isLoading, false);
    checkDaily(resultSet);
  });

  test('useCubeQuery with an error', async () => {
    const { error } = await rendered(() => lib.useCubeQuery(WRONG), (r) => r.error, 'an error');
    assert.equal(error.message, NOT_FOUND);
    assert.equal(error.status, 400);
  });

  test('useDryRun', async () => {
    const { response } = await rendered(() => lib.useDryRun(DAILY), (r) => r.response || r.error, 'a response');
    assert.equal(response.queryType, 'regularQuery');
    assert.equal(response.pivotQuery.measures[0], 'TrackedEvents.count');
  });

  test('useLazyDryRun runs only when it is told', async () => {
    let calls = 0;
    const { response } = await rendered(() => {
      const [run, result] = lib.useLazyDryRun(DAILY);
      if (calls === 0) {
        calls += 1;
        setTimeout(run, 0);
      }
      return result;
    }, (r) => r.response || r.error, 'a response');
    assert.deepEqual(response.queryOrder, [{ 'TrackedEvents.derivedTstamp': 'asc' }]);
  });

  test('useCubeMeta', async () => {
    const { response } = await rendered(() => lib.useCubeMeta(), (r) => r.response || r.error, 'the model');
    assert.equal(response.resolveMember('TrackedEvents.count', 'measures').type, 'number');
  });

  test('useCubeSql', async () => {
    const { response } = await rendered(() => lib.useCubeSql(DAILY), (r) => r.response || r.error, 'the SQL');
    assert.equal(typeof response.sql(), 'string');
  });

  /** Renders a component with a `render` property until `done` accepts its properties. */
  async function shown(type, props, done, what, act = () => {}) {
    let latest;
    const render = (given) => {
      latest = given;
      return null;
    };
    const root = createRoot(place());
    root.render(React.createElement(type, { cubeApi, render, ...props }));
    await act(() => latest);
    await until(() => latest && done(latest), what);
    root.unmount();
    return latest;
  }

  test('QueryRenderer', async () => {
    const { resultSet } = await shown(lib.QueryRenderer, { query: DAILY }, (p) => p.resultSet || p.error, 'a result');
    checkDaily(resultSet);
  });

  test('QueryRenderer with SQL', async () => {
    const { resultSet, sqlQuery } = await shown(lib.QueryRenderer, { query: DAILY, loadSql: true }, (p) => p.resultSet || p.error, 'a result');
    checkDaily(resultSet);
    assert.notEqual(sqlQuery.sql(), '');
  });

  test('QueryRenderer with several queries', async () => {
    const queries = { daily: DAILY, total: { measures: ['TrackedEvents.count'] } };
    const { resultSet } = await shown(lib.QueryRenderer, { queries }, (p) => p.resultSet || p.error, 'results');
    checkDaily(resultSet.daily);
    assert.equal(Number(resultSet.total.rawData()[0]['TrackedEvents.count']), events.length);
  });

  test('QueryBuilder', async () => {
    const built = await shown(lib.QueryBuilder, { defaultQuery: {} }, (p) => p.resultSet || p.error, 'a built result', async (latest) => {
      await until(() => latest()?.availableMeasures?.length, 'the model');
      const { updateMeasures, availableMeasures } = latest();
      updateMeasures.add(availableMeasures.find((measure) => measure.name === 'TrackedEvents.count'));
      // The builder itself proposes the cube's default time dimension by day.
      await until(() => latest().measures.length === 1 && latest().timeDimensions.length === 1, 'a measure by day');
      const { updateTimeDimensions, timeDimensions, availableTimeDimensions } = latest();
      const dimension = availableTimeDimensions.find((time) => time.name === 'TrackedEvents.derivedTstamp');
      updateTimeDimensions.update(timeDimensions[0], { dimension, granularity: 'day', dateRange: [from, to] });
      const asked = () => latest().resultSet?.query().timeDimensions?.[0];
      await until(() => asked()?.dateRange?.[0]?.startsWith(from), 'its answer');
    });
    assert.deepEqual(built.query.measures, ['TrackedEvents.count']);
    checkDaily(built.resultSet);
    assert.deepEqual(built.resultSet.tableColumns().map((column) => column.key), ['TrackedEvents.derivedTstamp.day', 'TrackedEvents.count']);
  });
});

describe('@cubejs-client/vue3', () => {
  const { createApp, h } = require('vue');
  const lib = require('@cubejs-client/vue3');
  const cube = createRequire(require.resolve('@cubejs-client/vue3'))('@cubejs-client/core').default;
  const cubejsApi = cube(token(PROJECT), { apiUrl: cubeUrl });

  /** Mounts a component whose default slot is kept. */
  function mounted(component, props) {
    let latest;
    const slot = (given) => {
      latest = given;
      return [];
    };
    const app = createApp({ render: () => h(component, { cubejsApi, ...props }, { default: slot }) });
    app.config.warnHandler = () => {};
    app.mount(place());
    return { latest: () => latest, unmount: () => app.unmount() };
  }

  test('QueryRenderer', async () => {
    const component = mounted(lib.QueryRenderer, { query: DAILY });
    await until(() => component.latest()?.resultSet || component.latest()?.error, 'a result');
    checkDaily(component.latest().resultSet);
    component.unmount();
  });

  test('QueryRenderer with SQL only', async () => {
    const component = mounted(lib.QueryRenderer, { query: DAILY, loadSql: 'only' });
    await until(() => component.latest()?.sqlQuery || component.latest()?.error, 'the SQL');
    assert.equal(typeof component.latest().sqlQuery.sql(), 'string');
    component.unmount();
  });

  test('QueryRenderer with an error', async () => {
    const component = mounted(lib.QueryRenderer, { query: WRONG });
    const error = await until(() => component.latest()?.error, 'an error');
    assert.match(String(error.message ?? error), /nonesuch/);
    component.unmount();
  });

  test('QueryBuilder', async () => {
    const component = mounted(lib.QueryBuilder, { query: {} });
    await until(() => component.latest()?.availableMeasures?.length, 'the model');
    const { availableMeasures, availableTimeDimensions, addMeasures } = component.latest();
    assert.ok(availableTimeDimensions.some((time) => time.name === 'TrackedEvents.derivedTstamp'));
    addMeasures(availableMeasures.find((measure) => measure.name === 'TrackedEvents.count').name);
    const resultSet = await until(() => component.latest().resultSet, 'its answer');
    // The builder itself proposes the cube's default time dimension by day.
    const sum = resultSet.rawData().reduce((all, row) => all + Number(row['TrackedEvents.count']), 0);
    assert.equal(sum, events.length);
    component.latest().setTimeDimensions([{ dimension: 'TrackedEvents.derivedTstamp', granularity: 'day', dateRange: [from, to] }]);
    const asked = () => component.latest().resultSet?.query().timeDimensions?.[0];
    await until(() => asked()?.dateRange?.[0]?.startsWith(from), 'the daily answer');
    checkDaily(component.latest().resultSet);
    component.unmount();
  });
});

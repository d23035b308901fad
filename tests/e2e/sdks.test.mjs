// The SDKs themselves, as npm delivers them, send to the server; the Cube API must count what they sent.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRequire } from 'node:module';
import { setTimeout as pause } from 'node:timers/promises';
import { ask, baseUrl } from './support/env.mjs';

const require = createRequire(import.meta.url);

/** Waits until the project holds `expected` events (SDKs send in their own time), then checks that it stays there. */
async function untilCounted(project, expected, query = {}) {
  const deadline = Date.now() + 20_000;
  let count;
  do {
    count = Number((await ask(project, { measures: ['TrackedEvents.count'], ...query }))[0]['TrackedEvents.count']);
    if (count >= expected) break;
    await pause(50);
  } while (Date.now() < deadline);
  assert.equal(count, expected);
}

async function namesOf(project) {
  const rows = await ask(project, { dimensions: ['TrackedEvents.customEventName'], measures: ['TrackedEvents.count'] });
  return Object.fromEntries(rows.map((row) => [row['TrackedEvents.customEventName'], Number(row['TrackedEvents.count'])]));
}

test('@jitsu/sdk-js in Node', async () => {
  const { jitsuClient } = require('@jitsu/sdk-js');
  const client = jitsuClient({ key: 'sdk-jitsu-key', tracking_host: baseUrl, fetch, log_level: 'ERROR' });
  for (let n = 0; n < 20; n += 1) await client.track('button_clicked', { button: 'buy', n, nested: { list: [1, 2] } });
  await client.track('pageview', { url: 'https://shop.example/page1.html', doc_path: '/page1.html' });
  await client.id({ id: 'user-1', email: 'ann@shop.example' });
  await client.track('purchase', { revenue: 59.98, currency: 'EUR' });
  await untilCounted('sdk-jitsu', 23);
  const views = await ask('sdk-jitsu', { measures: ['TrackedEvents.pageViewsCount'] });
  assert.equal(views[0]['TrackedEvents.pageViewsCount'], '1');
  assert.equal((await namesOf('sdk-jitsu')).button_clicked, 20);
});

for (const eventMethod of ['post', 'get']) {
  test(`@snowplow/node-tracker by ${eventMethod}`, async () => {
    const { newTracker, buildPageView, buildStructEvent, buildSelfDescribingEvent, buildPagePing } = require('@snowplow/node-tracker');
    const before = Number((await ask('sdk-snowplow-node', { measures: ['TrackedEvents.count'] }))[0]['TrackedEvents.count']);
    const tracker = newTracker(
      { namespace: `e2e-${eventMethod}`, appId: 'sdk-snowplow-node-key', encodeBase64: eventMethod === 'get' },
      { endpoint: baseUrl, eventMethod, bufferSize: 1, customFetch: fetch },
    );
    tracker.setUserId('user-2');
    for (let n = 0; n < 10; n += 1) tracker.track(buildPageView({ pageUrl: `https://shop.example/p/${n}?utm_source=a`, pageTitle: 'Titre é' }));
    tracker.track(buildStructEvent({ category: 'shop', action: 'add', label: 'l', property: 'p', value: 2 }));
    tracker.track(buildSelfDescribingEvent({ event: { schema: 'iglu:com.acme/thing_done/jsonschema/1-0-0', data: { what: 'x' } } }));
    tracker.track(buildPagePing({ pageUrl: 'https://shop.example/p/1', minXOffset: 0, maxXOffset: 0, minYOffset: 0, maxYOffset: 100 }));
    await tracker.flush();
    await untilCounted('sdk-snowplow-node', before + 13);
  });
}

/** The GitLab browser SDK in a page of jsdom, its requests carried by Node with the page's origin. */
async function gitlabPage(appId, hasCookieConsent) {
  const { JSDOM } = require('jsdom');
  const { readFileSync } = await import('node:fs');
  const script = readFileSync(require.resolve('@gitlab/application-sdk-browser').replace('gl-sdk.cjs.js', 'gl-sdk.min.js'), 'utf8');
  const dom = new JSDOM('<!doctype html><title>Shop</title><a id="out" href="https://other.example/">out</a>', {
    url: 'https://shop.example/page1.html?utm_source=newsletter', referrer: 'https://search.example/', runScripts: 'outside-only', pretendToBeVisual: true,
  });
  const { window } = dom;
  window.fetch = (url, options = {}) => {
    const headers = { ...Object.fromEntries(new Headers(options.headers ?? url.headers)), origin: 'https://shop.example', 'user-agent': window.navigator.userAgent };
    return (async () => fetch(url.url ?? url, { method: options.method ?? url.method ?? 'GET', headers, body: options.body ?? (url.text ? await url.text() : undefined) }))();
  };
  window.performance.timing = { navigationStart: Date.now() }; // jsdom lacks it, the SDK's timing plugin reads it
  window.Request = Request;
  window.Headers = Headers;
  window.AbortController = AbortController;
  window.eval(script);
  const client = window.glSDK.glClientSDK({ appId, host: baseUrl, hasCookieConsent, pagePingTracking: false });
  return { client, close: () => window.close() };
}

test('@gitlab/application-sdk-browser with consent', async () => {
  const page = await gitlabPage('sdk-gitlab-browser-key', true);
  page.client.identify('user-3', { plan: 'gold' });
  page.client.page();
  page.client.track('checkout', { amount: 12 });
  page.client.track('checkout', { amount: 13 });
  await untilCounted('sdk-gitlab-browser', 3);
  const rows = await ask('sdk-gitlab-browser', { measures: ['TrackedEvents.count', 'TrackedEvents.uniqueUsersCount'], dimensions: ['TrackedEvents.userId'] });
  assert.deepEqual(rows.map((row) => row['TrackedEvents.userId']), ['user-3']);
  const custom = await ask('sdk-gitlab-browser', { dimensions: ['TrackedEvents.customEventName'], measures: ['TrackedEvents.count'], filters: [{ member: 'TrackedEvents.customEventName', operator: 'set' }] });
  assert.deepEqual(custom.map((row) => [row['TrackedEvents.customEventName'], row['TrackedEvents.count']]), [['checkout', '2']]);
  page.close();
});

test('@gitlab/application-sdk-browser without consent: one visitor, not a known user', async () => {
  const page = await gitlabPage('sdk-gitlab-anonymous-key', false);
  page.client.identify('user-4');
  page.client.page();
  page.client.page();
  await untilCounted('sdk-gitlab-anonymous', 2);
  const [row] = await ask('sdk-gitlab-anonymous', { measures: ['TrackedEvents.uniqueUsersCount'] });
  assert.equal(row['TrackedEvents.uniqueUsersCount'], '1');
  const [known] = await ask('sdk-gitlab-anonymous', { measures: ['TrackedEvents.count'], segments: ['TrackedEvents.knownUsers'] });
  assert.equal(known['TrackedEvents.count'], '0');
  const [sessions] = await ask('sdk-gitlab-anonymous', { measures: ['Sessions.count'] });
  assert.equal(sessions['Sessions.count'], '1');
  page.close();
});

// A small made-up site: its events as Snowplow trackers send them, and what every built-in GitLab query must answer
// for them, computed with plain loops that share nothing with the server.

const MINUTE = 60_000;
const DAY = 86_400_000;

/** A generator of numbers in [0, 1) that gives the same sequence for the same seed. */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function uuidFrom(random) {
  const hex = Array.from({ length: 32 }, () => Math.floor(random() * 16).toString(16));
  hex[12] = '4';
  hex[16] = '89ab'[Math.floor(random() * 4)];
  const s = hex.join('');
  return `${s.slice(0, 8)}-${s.slice(8, 12)}-${s.slice(12, 16)}-${s.slice(16, 20)}-${s.slice(20)}`;
}

export const BROWSERS = [
  { name: 'Chrome', major: '126', ua: 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36' },
  { name: 'Firefox', major: '127', ua: 'Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0' },
  { name: 'Safari', major: '17', ua: 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15' },
  { name: 'Edge', major: '125', ua: 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36 Edg/125.0.0.0' },
];
const PAGES = ['/', '/pricing', '/docs/start', '/page1.html', '/page2.html', '/page3.html'];
const KINDS = ['pv', 'pv', 'pv', 'pv', 'pp', 'se', 'ue'];

/** The days of the data, counted back from today so that every event lies in the past few weeks. */
export function days(now = Date.now()) {
  const first = Math.floor(now / DAY) * DAY - 13 * DAY;
  return Array.from({ length: 11 }, (_, n) => first + n * DAY);
}

export const isoDay = (ms) => new Date(ms).toISOString().slice(0, 10);

/**
 * The site's events, oldest first. Distances within a session are whole minutes below 30, between sessions of one
 * visitor more than 30 minutes, so a gap of 30 minutes and the tracker's own session ids describe the same sessions.
 * The day with index 4 has no sessions. Sessions may run past midnight.
 */
export function makeSite({ seed = 7, visitors = 48, now = Date.now() } = {}) {
  const random = randomFrom(seed);
  const pick = (list) => list[Math.floor(random() * list.length)];
  const events = [];
  for (let v = 0; v < visitors; v += 1) {
    const visitor = { duid: uuidFrom(random), uid: random() < 0.3 ? `user-${v}` : null, browser: pick(BROWSERS), visits: 0 };
    for (const [index, day] of days(now).entries()) {
      if (index === 4) continue;
      const starts = random() < 0.15 ? [130, 1100] : random() < 0.4 ? [120 + Math.floor(random() * 1315)] : [];
      for (const start of starts) {
        visitor.visits += 1;
        addSession(events, visitor, day + start * MINUTE, random, pick);
      }
    }
  }
  return events.sort((a, b) => a.at - b.at || (a.eid < b.eid ? -1 : 1));
}

function addSession(events, visitor, startsAt, random, pick) {
  const sid = uuidFrom(random);
  let at = startsAt;
  const length = 1 + Math.floor(random() * 6);
  const buys = random() < 0.12;
  for (let n = 0; n < length; n += 1) {
    const kind = n === 0 || buys ? 'pv' : pick(KINDS);
    const path = buys ? PAGES[3 + Math.min(n, 2)] : pick(PAGES);
    events.push({
      eid: uuidFrom(random), at, kind, path, sid, visit: visitor.visits,
      url: `https://shop.example${path}${random() < 0.3 ? '?utm_source=newsletter&utm_medium=email' : ''}`,
      visitor: visitor.uid ?? visitor.duid, duid: visitor.duid, uid: visitor.uid, browser: visitor.browser,
    });
    at += (1 + Math.floor(random() * 12)) * MINUTE;
  }
}

/** One event as a field map of the Snowplow tracker protocol. */
export function toSnowplow(event, appId) {
  const fields = {
    e: event.kind, eid: event.eid, aid: appId, p: 'web', tna: 'sp', tv: 'js-4.10.1', dtm: String(event.at),
    url: event.url, page: `Page ${event.path}`, duid: event.duid, sid: event.sid, vid: String(event.visit),
    ua: event.browser.ua, lang: 'en-GB', res: '1920x1080', vp: '1280x720', cs: 'UTF-8',
  };
  if (event.uid) fields.uid = event.uid;
  if (event.kind === 'se') Object.assign(fields, { se_ca: 'shop', se_ac: 'add', se_la: 'x', se_va: '2' });
  if (event.kind === 'ue') {
    const click = { schema: 'iglu:com.snowplowanalytics.snowplow/link_click/jsonschema/1-0-1', data: { targetUrl: 'https://other.example/', elementId: 'out' } };
    fields.ue_pr = JSON.stringify({ schema: 'iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0', data: click });
  }
  return fields;
}

/** Posts the events in bodies of 100, as a tracker with a large buffer does. */
export async function postSite(baseUrl, events, appId) {
  const schema = 'iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4';
  for (let from = 0; from < events.length; from += 100) {
    const data = events.slice(from, from + 100).map((event) => toSnowplow(event, appId));
    const reply = await fetch(`${baseUrl}/com.snowplowanalytics.snowplow/tp2`, {
      method: 'POST', headers: { 'content-type': 'application/json; charset=UTF-8' }, body: JSON.stringify({ schema, data }),
    });
    if (reply.status !== 200) throw new Error(`posting events answered ${reply.status}: ${await reply.text()}`);
    await reply.text();
  }
}

const distinct = (items) => new Set(items).size;

export function groupBy(items, key) {
  const groups = new Map();
  for (const item of items) {
    const name = key(item);
    groups.set(name, [...(groups.get(name) ?? []), item]);
  }
  return groups;
}

/** Sessions by a gap of more than 30 minutes. */
export function sessionsOf(events) {
  const sessions = [];
  for (const [visitor, own] of groupBy(events, (e) => e.visitor)) {
    let session = null;
    let number = 0;
    for (const event of own) {
      if (session === null || event.at - session.end > 30 * MINUTE) {
        number += 1;
        session = { visitor, start: event.at, end: event.at, number, browser: event.browser };
        sessions.push(session);
      }
      session.end = event.at;
    }
  }
  return sessions;
}

/** Every figure the 14 queries ask for, over the closed range of UTC days. */
export function expectedFigures(allEvents, fromDay, toDay) {
  const within = (ms) => isoDay(ms) >= fromDay && isoDay(ms) <= toDay;
  const events = allEvents.filter((e) => within(e.at));
  const views = events.filter((e) => e.kind === 'pv');
  const sessions = sessionsOf(allEvents).filter((s) => within(s.start));
  const perDay = (items, at, figure) => new Map([...groupBy(items, (i) => isoDay(at(i)))].map(([day, own]) => [day, figure(own)]));
  const perBrowser = (items, figure) => new Map([...groupBy(items, (i) => i.browser.name)].map(([name, own]) => [name, figure(own)]));
  const minutes = sessions.map((s) => (s.end - s.start) / MINUTE);
  return {
    events: events.length,
    views: views.length,
    linkClicks: events.filter((e) => e.kind === 'ue').length,
    users: distinct(events.map((e) => e.visitor)),
    usersPerDay: perDay(events, (e) => e.at, (own) => distinct(own.map((e) => e.visitor))),
    usersPerBrowser: perBrowser(events, (own) => distinct(own.map((e) => e.visitor))),
    eventsPerDay: perDay(events, (e) => e.at, (own) => own.length),
    viewsPerDay: perDay(views, (e) => e.at, (own) => own.length),
    viewsPerPage: new Map([...groupBy(views, (e) => `${e.path} ${e.url}`)].map(([page, own]) => [page, own.length])),
    sessions: sessions.length,
    sessionsPerDay: perDay(sessions, (s) => s.start, (own) => own.length),
    sessionsPerBrowser: perBrowser(sessions, (own) => own.length),
    averageMinutes: minutes.reduce((sum, m) => sum + m, 0) / minutes.length,
    sessionsPerUser: sessions.length / distinct(sessions.map((s) => s.visitor)),
    repeatPercent: (100 * sessions.filter((s) => s.number > 1).length) / sessions.length,
  };
}

/**
 * Visitors per step of a funnel under the rule `ordered`: the longest chain of page views that starts at an entry which
 * `accepts` allows, in time order, inside the window. Times of one visitor's events differ, so taking the earliest next
 * step is best.
 */
export function expectedFunnel(events, targets, seconds, accepts = () => true) {
  const reached = targets.map(() => 0);
  for (const own of groupBy(events.filter((e) => e.kind === 'pv'), (e) => e.visitor).values()) {
    let best = 0;
    own.forEach((entry, from) => {
      if (entry.path !== targets[0] || !accepts(entry.at)) return;
      let level = 1;
      for (const event of own.slice(from + 1)) {
        if (event.at > entry.at + seconds * 1000) break;
        if (level < targets.length && event.path === targets[level]) level += 1;
      }
      best = Math.max(best, level);
    });
    for (let level = 0; level < best; level += 1) reached[level] += 1;
  }
  return reached;
}

// The 14 queries of GitLab's built-in product analytics dashboards as its front end sends them: every key present,
// limit 100, UTC, and the dashboard's date range appended as a filter on the cube's date member.

/** Members were renamed once: `mid2023` is the state with the `Snowplow` cubes, `current` the last one. */
export const GENERATIONS = {
  current: { events: 'TrackedEvents', sessions: 'Sessions', browser: ['agentName', 'agentVersion'], pageView: ['event', 'page_view'] },
  mid2023: { events: 'SnowplowTrackedEvents', sessions: 'SnowplowSessions', browser: ['brFamily', 'brVersion'], pageView: ['eventType', 'pageview'] },
};

export function gitlabQueries(generation, from, to) {
  const { events, sessions, browser, pageView } = GENERATIONS[generation];
  const build = (cube, measure, { dimensions = [], time = null, filters = [] } = {}) => ({
    measures: [`${cube}.${measure}`],
    dimensions: dimensions.map((name) => `${cube}.${name}`),
    timeDimensions: time ? [{ dimension: `${cube}.${time}`, granularity: 'day' }] : [],
    filters: [
      ...filters.map(([member, value]) => ({ member: `${cube}.${member}`, operator: 'equals', values: [value] })),
      { member: `${cube}.${cube === events ? 'derivedTstamp' : 'startAt'}`, operator: 'inDateRange', values: [from, to] },
    ],
    segments: [],
    limit: 100,
    timezone: 'UTC',
  });
  return {
    total_unique_users: build(events, 'uniqueUsersCount'),
    daily_active_users: build(events, 'uniqueUsersCount', { time: 'derivedTstamp' }),
    browsers_per_users: build(events, 'uniqueUsersCount', { dimensions: browser }),
    total_events: build(events, 'count'),
    events_over_time: build(events, 'count', { time: 'derivedTstamp' }),
    total_pageviews: build(events, 'pageViewsCount', { filters: [pageView] }),
    page_views_over_time: build(events, 'pageViewsCount', { time: 'derivedTstamp', filters: [pageView] }),
    top_pages: build(events, 'pageViewsCount', { dimensions: ['pageUrlpath', 'pageUrl'] }),
    total_sessions: build(sessions, 'count'),
    sessions_over_time: build(sessions, 'count', { time: 'startAt' }),
    sessions_per_browser: build(sessions, 'count', { dimensions: ['agentName', 'agentVersion'] }),
    average_session_duration: build(sessions, 'averageDurationMinutes'),
    average_sessions_per_user: build(sessions, 'averagePerUser'),
    returning_users_percentage: build(sessions, 'repeatPercent'),
  };
}

// What `support/with_server.py` tells a test about the running server.

import { createHmac } from 'node:crypto';

function need(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: start this file through tests/e2e/run`);
  return value;
}

export const baseUrl = need('TALLY_E2E_URL');
export const cubeUrl = `${baseUrl}/cubejs-api/v1`;
const secret = need('TALLY_E2E_SECRET');

/** A token as GitLab makes it: HS256, tenant in `appId`, valid for three minutes. */
export function token(project, { seconds = 180, key = secret, claims = {} } = {}) {
  const now = Math.floor(Date.now() / 1000);
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const payload = { iat: now, exp: now + seconds, appId: project, gitlabToken: null, iss: 'gitlab.example', ...claims };
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(payload)}`;
  return `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`;
}

/** Asks one query the way curl does: no `queryType`, so the bare result comes back. */
export async function ask(project, query) {
  const reply = await fetch(`${cubeUrl}/load`, {
    method: 'POST', headers: { authorization: token(project), 'content-type': 'application/json' }, body: JSON.stringify({ query }),
  });
  const body = await reply.json();
  if (reply.status !== 200) throw new Error(`${reply.status}: ${body.error}`);
  return body.data;
}

// A browser's globals from jsdom, for component libraries; import it before them.

import { JSDOM } from 'jsdom';

const dom = new JSDOM('<!doctype html><div id="app"></div>', { url: 'http://localhost/', pretendToBeVisual: true });
globalThis.window = dom.window;
globalThis.document = dom.window.document;
for (const name of ['HTMLElement', 'Element', 'Node', 'SVGElement', 'Event', 'CustomEvent', 'MathMLElement', 'ShadowRoot', 'navigator', 'requestAnimationFrame', 'cancelAnimationFrame']) {
  if (dom.window[name] !== undefined) globalThis[name] ??= dom.window[name];
}

/** Waits until `condition()` gives something true; fails by name after ten seconds. */
export async function until(condition, what) {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const value = condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`${what} did not happen`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A new place for a component. */
export function place() {
  const element = document.createElement('div');
  document.body.append(element);
  return element;
}

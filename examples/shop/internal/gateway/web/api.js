// The shop's API, with the patience that a customer has.

import { wait } from "./dom.js";

// Problem is an error that the shop answered with (problem+json), or status 0 when it did not answer.
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(body.detail || body.title || "The shop does not answer.");
    this.status = status;
    this.reason = body.reason || "";
    this.metadata = body.metadata || {};
    this.fields = body.errors || [];
    this.retryAfter = retryAfter; // ms
  }

  // passing reports whether asking again may help.
  get passing() { return this.status === 0 || this.status === 429 || this.status >= 502; }
}

async function once(method, path, { body, key, signal, limit }) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  const timeout = AbortSignal.timeout(limit);
  let response;
  try {
    response = await fetch(path, {
      method, headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
    if (response.status === 204) return null;
    const answer = await response.json();
    if (response.ok) return answer;
    throw new Problem(response.status, answer, 1000 * Number(response.headers.get("Retry-After") || 0));
  } catch (error) {
    if (error instanceof Problem || signal?.aborted) throw error;
    throw new Problem(response && !response.ok ? response.status : 0, {}, 0);
  }
}

// call asks again, for as long as patience (ms) lasts, when the answer is one that passes. That is safe: the API does
// nothing twice. waiting is told of each error before the pause that follows it.
export async function call(method, path, { patience = 8000, limit = 8000, waiting, ...options } = {}) {
  const until = performance.now() + patience;
  for (let attempt = 0; ; attempt++) {
    try {
      return await once(method, path, { limit, ...options });
    } catch (error) {
      if (!(error instanceof Problem) || !error.passing) throw error;
      const pause = Math.max(error.retryAfter, Math.min(4000, 300 * 2 ** attempt)) * (0.8 + 0.4 * Math.random());
      if (performance.now() + pause > until) throw error;
      waiting?.(error);
      await wait(pause, options.signal);
    }
  }
}

export const get = (path, options) => call("GET", path, options);
export const segment = encodeURIComponent;

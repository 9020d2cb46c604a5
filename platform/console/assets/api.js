// The control API of the server that this page came from.
const none = { right: "", key: "" };
const place = "holdfast.key";

// session is who we are to the server: what it lets us do, and the key that changes have to carry.
export let session = none;

// APIError is an answer that is no success: what the server says about it is for people, and is shown as it is.
export class APIError extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

const limit = 30_000;

// patient: it takes as long as instances do, and ends by itself.
const request = async (method, path, body, signal, patient) => {
  const headers = { Accept: "application/json" };
  const change = method !== "GET";
  if (change) {
    headers["Content-Type"] = "application/json";
    headers["X-Holdfast"] = kept() || session.key || "console"; // all tabs have one cookie, which is that of the last login
  }
  const ends = [signal, patient ? undefined : AbortSignal.timeout(limit)].filter(Boolean);
  const answer = await fetch(path, {
    method, headers, body: body === undefined ? (change ? "{}" : undefined) : JSON.stringify(body),
    credentials: "same-origin", cache: "no-store", redirect: "error", signal: AbortSignal.any(ends),
  });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new APIError(answer.status, problem.code ?? "", problem.detail ?? problem.title ?? answer.statusText);
};

export const get = async (path, signal) => (await request("GET", path, undefined, signal)).json();
export const post = async (path, body) => (await request("POST", path, body)).json();
export const postPatiently = async (path, body) => (await request("POST", path, body, undefined, true)).json();
export const drop = async (path) => (await request("DELETE", path)).json();

// A page that is left may be kept by the browser for the way back, with its connections, of which it opens six to a server. left
// ends the streams of one that is; who reads them tries again when it is back.
let left = new AbortController();
addEventListener("pagehide", () => {
  left.abort(new Error("the page was left"));
  left = new AbortController();
});

// lines reads what is answered as a JSON value a line, to its end, and hands each to emit.
export const lines = async (path, emit, signal) => {
  const headers = { Accept: "application/x-ndjson" };
  const answer = await fetch(path, { headers, credentials: "same-origin", cache: "no-store", redirect: "error", signal: signal ? AbortSignal.any([signal, left.signal]) : left.signal });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new APIError(answer.status, problem.code ?? "", problem.detail ?? answer.statusText);
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) emit(JSON.parse(part));
  }
};

export const query = (values) => {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(values)) if (v !== undefined && v !== null && v !== "") q.set(k, v);
  const str = q.toString();
  return str && "?" + str;
};

const kept = () => {
  try {
    return localStorage.getItem(place) ?? "";
  } catch {
    return ""; // storage may be forbidden
  }
};
const keep = (key) => {
  try {
    localStorage.setItem(place, key);
  } catch {
    // then it is for this page only
  }
};

// login takes the code of a link out of the address, so that it is neither in the history nor in a screenshot, and trades it
// for a session; without one it asks who we are. It reports why that did not work, or undefined.
export const login = async () => {
  const code = coded();
  const before = session;
  try {
    if (code) {
      history.replaceState(null, "", location.pathname + "#/");
      session = await post("/v1/session", { code: decodeURIComponent(code) });
      keep(session.key);
    } else {
      // The key is told once, at the login; this origin, which has the port in it, is where it is kept.
      session = { ...(await get("/v1/session")), key: kept() };
      if (!session.key && session.right === "operate") session.right = "view";
    }
  } catch (e) {
    session = code ? before : none;
    return code || e.status === 401 ? e : undefined;
  }
};

const coded = () => /[#&]login=([^&]+)/.exec(location.hash)?.[1];

export const loggingIn = () => coded() !== undefined;

// elsewhere calls changed when another tab has logged in.
export const elsewhere = (changed) => addEventListener("storage", (e) => e.key === place && changed());

export const mayOperate = () => session.right === "operate";

// follow keeps a stream of the system open for ever: on(name, value) is called for "live" and "event", state(word, error, fresh) with
// "on", "off" and "denied". A stream that breaks is opened again after a while that grows to 5 s. fresh is true once for each that was
// opened: what has happened before it was not told, whatever the word was meanwhile.
//
// A page that nobody sees asks now and then instead: a browser opens six connections to a server at most, for all of its pages.
export const follow = (on, state) => {
  let source;
  let polling;
  let wait = 250;
  let timer;
  let last = 0;
  const open = () => {
    clearTimeout(timer);
    clearInterval(polling);
    source = new EventSource("/v1/live");
    last = performance.now();
    let fresh = true;
    const take = (name) => (e) => {
      last = performance.now();
      wait = 250;
      let value;
      try {
        value = JSON.parse(e.data);
      } catch {
        return; // half a value: the next one is whole
      }
      state("on", undefined, fresh);
      fresh = false;
      on(name, value);
    };
    source.addEventListener("live", take("live"));
    source.addEventListener("event", take("event"));
    source.onerror = () => again();
  };
  const again = async () => {
    source.close();
    clearTimeout(timer);
    clearInterval(polling);
    timer = setTimeout(open, wait);
    wait = Math.min(5000, wait * 2);
    state("off");
    try {
      await get("/v1/system");
    } catch (e) {
      if (e.status === 401 || e.status === 403) state("denied", e);
    }
  };
  // A connection that says nothing is not one: something is said each second.
  setInterval(() => {
    if (performance.now() - last > 5000 && source.readyState !== EventSource.CLOSED && !document.hidden) again();
  }, 1000);
  const poll = async () => {
    try {
      on("live", await get("/v1/snapshot"));
      state("on");
    } catch {
      state("off");
    }
  };
  let hide;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hide);
    if (!document.hidden) {
      if (source.readyState === EventSource.CLOSED) open();
      return;
    }
    hide = setTimeout(() => {
      source.close();
      clearTimeout(timer);
      polling = setInterval(poll, 5000);
    }, 20_000);
  });
  addEventListener("pagehide", () => {
    source.close();
    for (const t of [timer, polling, hide]) clearTimeout(t);
  });
  addEventListener("pageshow", (e) => e.persisted && source.readyState === EventSource.CLOSED && open());
  open();
};

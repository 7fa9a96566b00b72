// @ts-check
/** Answers that are asked for again after the exchange has moved on, and not more often than needed. */

import { useCallback, useEffect, useRef, useState } from "./vendor/preact-htm.js";

/** @typedef {import("./app.js").Page} Page */

/** Shortest time between two questions of one kind. */
const EVERY_MS = 1000;

/**
 * What a call answers, kept up to date while somebody is signed in and the page is seen.
 * @template T
 * @param {Page} page
 * @param {() => Promise<T>} load
 * @param {any[]} about asked anew when one of these changes
 * @param {boolean} [wanted]
 * @returns {{value: T | null, error: string, refresh: () => void}}
 */
export function usePolled(page, load, about, wanted = true) {
  const [answer, setAnswer] = useState(/** @type {{value: T | null, error: string}} */ ({ value: null, error: "" }));
  const account = page.session.account?.account_id ?? 0;
  const ask = useRef(() => {});
  useEffect(() => {
    setAnswer({ value: null, error: "" });
    if (!wanted || !account) return undefined;
    let over = false;
    let asking = false;
    let again = false;
    let asked = "";
    ask.current = async () => {
      if (asking) {
        again = true;
        return;
      }
      asking = true;
      again = false;
      try {
        const value = await load();
        if (!over) setAnswer({ value, error: "" });
      } catch (error) {
        if (!over) setAnswer((before) => ({ ...before, error: /** @type {Error} */ (error).message }));
      }
      asking = false;
      if (again && !over) ask.current();
    };
    ask.current();
    const timer = setInterval(() => {
      const sequence = String(page.store.overview?.sequence ?? "");
      const away = document.hidden || page.status.kind !== "live" || page.session.account === null;
      if (away || sequence === asked) return;
      asked = sequence;
      ask.current();
    }, EVERY_MS);
    return () => {
      over = true;
      clearInterval(timer);
    };
  }, [account, wanted, ...about]);
  const refresh = useCallback(() => ask.current(), []);
  return { ...answer, refresh };
}

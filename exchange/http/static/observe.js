// @ts-check
/** What changes, and who draws it: many changes, one draw a frame. */

import { useEffect, useReducer } from "./vendor/preact-htm.js";

/** @type {Set<() => void>} */
const due = new Set();
let asked = false;

/**
 * Run this in the next frame, once, however often it is asked for until then.
 * @param {() => void} draw
 */
export function nextFrame(draw) {
  due.add(draw);
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    const draws = [...due];
    due.clear();
    for (const one of draws) one();
  });
}

/** Something that changes and is looked at. */
export class Topic {
  constructor() {
    /** @type {Set<() => void>} */
    this.listeners = new Set();
  }

  /**
   * @param {() => void} listener
   * @returns {() => void} ends it
   */
  listen(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** It has changed. */
  touch() {
    for (const listener of [...this.listeners]) listener();
  }
}

/**
 * Let a component draw again in the frame after one of these has changed.
 * @param {...Topic} topics
 */
export function useTopics(...topics) {
  const [, redraw] = useReducer((/** @type {number} */ count) => count + 1, 0);
  useEffect(() => {
    const draw = () => redraw(0);
    const ends = topics.map((topic) => topic.listen(() => nextFrame(draw)));
    // It may have changed between the first draw and here.
    draw();
    return () => ends.forEach((end) => end());
  }, topics);
}

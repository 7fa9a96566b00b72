// @ts-check
/** Light, dark, or as the system is; a plain script, so that it is known before the first paint. */

(() => {
  const KEPT_AS = "flopex-theme";
  const kept = localStorage.getItem(KEPT_AS);
  if (kept) document.documentElement.dataset.theme = kept;
})();

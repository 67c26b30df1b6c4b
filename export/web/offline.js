/** Keeps the page for the time without a network. */

const CACHE = "digits";

/**
 * Keeps what was needed this time, so call it when all is loaded.
 *
 * @returns {Promise<boolean>} false where browsers do not allow it: not over plain http, but for
 *   localhost
 */
export async function keepForOffline() {
  if (!("serviceWorker" in navigator)) return false;
  await navigator.serviceWorker.register("service-worker.js");
  const links = Array.from(document.querySelectorAll("link[href]"), (link) => link.href);
  const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  const own = [location.href.split("#")[0], ...links, ...loaded].filter((url) =>
    url.startsWith(new URL(".", location.href).href),
  );
  const cache = await caches.open(CACHE);
  await cache.addAll([...new Set(own)]);
  await navigator.serviceWorker.ready;
  return true;
}

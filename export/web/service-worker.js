/** The network first, for the newest model; without one, what offline.js has kept. */

const CACHE = "digits"; // offline.js has it too: a classic worker imports no modules

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event));
});

async function answer(event) {
  const cache = await caches.open(CACHE);
  let response;
  try {
    response = await fetch(event.request);
  } catch (error) {
    const kept = await cache.match(event.request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
  if (response.ok) event.waitUntil(cache.put(event.request, response.clone()));
  return response;
}

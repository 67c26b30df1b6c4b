/** The model server, which `digits demo --server` asks for the page. */

/**
 * Asks for the probabilities of a digit.
 *
 * @param {Uint8Array} digit 784 bytes, white on black
 * @returns {Promise<{probabilities: number[], milliseconds: number} | {error: string}>}
 */
export async function ask(digit) {
  const start = performance.now();
  try {
    const response = await fetch("server", {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream" },
      body: digit,
    });
    const answer = await response.json();
    return { ...answer, milliseconds: performance.now() - start };
  } catch (error) {
    return { error: `the page's own server does not answer: ${error.message}` };
  }
}

// Questions to the server, and its answers: one frame each, of facts as JSON and encoded pictures.

/** A refusal by the server: its status, and words for a person. */
export class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

/**
 * Ask for one frame.
 *
 * @param {{live: string, header: string, token: string}} server - where, and with which token
 * @param {string} kind - preview, full, part or value
 * @param {object} question - see Look in engine.py
 * @param {AbortSignal} [signal]
 * @returns {Promise<{facts: object, pictures: Blob[]}>} pictures in the order of facts.pictures
 */
export async function ask(server, kind, question, signal) {
  const answer = await fetch(new URL(server.live + kind, location.href), {
    method: "POST",
    headers: { [server.header]: server.token, "Content-Type": "application/json" },
    body: JSON.stringify(question),
    signal,
  });
  if (!answer.ok) {
    const words = await answer.json().catch(() => ({}));
    throw new Refused(answer.status, words.error || `the server answers ${answer.status}`);
  }
  const frame = await answer.arrayBuffer();
  const length = new DataView(frame).getUint32(0);
  const facts = JSON.parse(new TextDecoder().decode(new Uint8Array(frame, 4, length)));
  let start = 4 + length;
  const pictures = (facts.pictures || []).map(({ bytes, type }) => {
    const picture = new Blob([new Uint8Array(frame, start, bytes)], { type });
    start += bytes;
    return picture;
  });
  return { facts, pictures };
}

/** Decode pictures without any colour management: a grey level stays what it is. */
export function decoded(pictures) {
  return Promise.all(pictures.map((picture) => createImageBitmap(picture, { colorSpaceConversion: "none" })));
}

/** Does one thing at a time, and of all that was asked for meanwhile only the newest: never a queue. */
export class Latest {
  constructor(work) {
    this.work = work;
    this.busy = false;
    this.next = null;
  }

  push(question) {
    this.next = { question };
    if (!this.busy) this.run();
  }

  clear() {
    this.next = null;
  }

  async run() {
    this.busy = true;
    try {
      while (this.next) {
        const { question } = this.next;
        this.next = null;
        await this.work(question);
      }
    } finally {
      this.busy = false;
    }
  }
}

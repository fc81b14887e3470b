"use strict";
// The answers of models that write, for the pages of a server and of the studio.

/** Return a response; throw what the server says if it is an error. */
export async function checked(response) {
  if (!response.ok) throw new Error((await response.json()).error.message);
  return response;
}

/** Yield the pieces of a streamed answer, of a conversation or of a text that is continued. */
export async function* pieces(response) {
  const reader = response.body.getReader(), decoder = new TextDecoder();
  let buffer = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const events = (buffer + decoder.decode(part.value, { stream: true })).split("\n\n");
    buffer = events.pop();
    for (const event of events) {
      const data = event.slice("data: ".length);
      if (data === "[DONE]") continue;
      const { choices, error } = JSON.parse(data);
      if (error) throw new Error(error.message);
      yield choices[0]?.delta?.content ?? choices[0]?.text ?? "";
    }
  }
}

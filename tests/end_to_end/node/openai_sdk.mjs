// The OpenAI SDK for Node against a scripted server: node openai_sdk.mjs SCRIPT, with SCRIPT what
// scripted.py says, as JSON, and the server's `url`. Exits with an error where anything differs.
import assert from "node:assert/strict";
import OpenAI from "openai";

const script = JSON.parse(process.argv[2]);
const client = new OpenAI({ baseURL: `${script.url}/v1`, apiKey: "unused", maxRetries: 0 });
const question = { role: "user", content: script.question };
const declared = { name: script.tool, description: script.description, parameters: script.schema };

async function chatRoundTrip() {
  const tools = [{ type: "function", function: declared }];
  const first = await client.chat.completions.create({ model: "small", messages: [question], tools });
  const message = first.choices[0].message;
  assert.equal(message.content, script.text);
  assert.equal(message.reasoning_content, script.thought);
  const call = message.tool_calls[0];
  assert.deepEqual(JSON.parse(call.function.arguments), script.arguments);
  const result = { role: "tool", tool_call_id: call.id, content: script.result };
  const second = await client.chat.completions.create({
    model: "small", messages: [question, message, result], tools });
  assert.equal(second.choices[0].message.content, script.answer);

  const runner = client.chat.completions.stream({ model: "small", messages: [question], tools });
  const streamed = (await runner.finalChatCompletion()).choices[0].message;
  assert.equal(streamed.content, script.text);
  assert.deepEqual(JSON.parse(streamed.tool_calls[0].function.arguments), script.arguments);
}

async function responses() {
  const tools = [{ type: "function", strict: false, ...declared }];
  const whole = await client.responses.create({ model: "small", input: script.question, tools });
  assert.equal(whole.output_text, script.text);
  const runner = client.responses.stream({ model: "small", input: script.question, tools });
  let text = "";
  runner.on("response.output_text.delta", (event) => { text += event.delta; });
  const streamed = await runner.finalResponse();
  assert.equal(text, script.text);
  assert.deepEqual(streamed.output.map((item) => item.type),
    ["reasoning", "message", "function_call"]);
}

async function errors() {
  await assert.rejects(
    client.chat.completions.create({ model: "small", messages: [question], temperature: 3 }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature");
}

await chatRoundTrip();
await responses();
await errors();

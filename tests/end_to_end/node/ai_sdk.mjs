// The AI SDK's OpenAI-compatible provider against a scripted server, as openai_sdk.mjs: it checks
// every chunk against its own schema.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const script = JSON.parse(process.argv[2]);
const provider = createOpenAICompatible({
  name: "facet", baseURL: `${script.url}/v1`, apiKey: "unused", includeUsage: true });

// What a run of the model, the tool and the model again must be asked and give.
function request(seen) {
  return {
    model: provider("small"),
    prompt: script.question,
    maxRetries: 0,
    stopWhen: stepCountIs(3),
    tools: {
      [script.tool]: tool({
        description: script.description,
        inputSchema: jsonSchema(script.schema),
        execute: async (input) => { seen.push(input); return script.result; },
      }),
    },
  };
}

function check(seen, steps, text) {
  assert.deepEqual(seen, [script.arguments]);
  assert.equal(steps.length, 2);
  assert.equal(steps[0].text, script.text);
  assert.equal(steps[0].reasoningText, script.thought);
  assert.equal(steps[0].finishReason, "tool-calls");
  assert.ok(steps[0].usage.outputTokens > 3);
  assert.equal(text, script.answer);
}

const calls = [];
const whole = await generateText(request(calls));
check(calls, whole.steps, whole.text);

const streamedCalls = [];
const stream = streamText({ ...request(streamedCalls), onError: ({ error }) => { throw error; } });
for await (const part of stream.fullStream) assert.notEqual(part.type, "error");
check(streamedCalls, await stream.steps, await stream.text);

// A full round with MQTT.js, as a page would do it. What was done, or what went wrong, is posted to /result.
// The address of the broker and the protocol version stand behind the question mark.
"use strict";

const asked = new URLSearchParams(location.search);
const address = asked.get("broker");
const protocolVersion = Number(asked.get("version"));
const root = asked.get("root");
const done = [];

/** A client whose messages can be waited for one by one. */
class Client {
  constructor(name, options = {}) {
    this.messages = [];
    this.waiting = [];
    this.mqtt = mqtt.connect(address, {
      clientId: `${root}${name}`,
      protocolVersion,
      reconnectPeriod: 0,
      connectTimeout: 5000,
      ...options,
    });
    this.mqtt.on("message", (topic, payload, packet) => {
      const message = { topic, payload, qos: packet.qos, retain: packet.retain };
      const next = this.waiting.shift();
      if (next) next(message);
      else this.messages.push(message);
    });
    this.ready = new Promise((resolve, reject) => {
      this.mqtt.once("connect", resolve);
      this.mqtt.once("error", reject);
      this.mqtt.once("close", () => reject(new Error(`${name} was closed`)));
    });
  }

  next() {
    const message = this.messages.shift();
    return message ? Promise.resolve(message) : new Promise((resolve) => this.waiting.push(resolve));
  }

  async expect(topic, payload, qos, retain) {
    const message = await this.next();
    const text = message.payload.toString();
    const got = [message.topic, message.qos, message.retain, text === payload];
    const wanted = [topic, qos, retain, true];
    if (JSON.stringify(got) !== JSON.stringify(wanted)) {
      throw new Error(`expected ${wanted}, got ${got}: ${text.slice(0, 40)}`);
    }
  }
}

async function round() {
  const client = new Client("a");
  await client.ready;
  done.push("connect");

  const granted = await client.mqtt.subscribeAsync(`${root}/+`, { qos: 2 });
  if (granted[0].qos !== 2) throw new Error(`granted ${granted[0].qos}`);
  done.push("subscribe");

  for (const qos of [0, 1, 2]) {
    await client.mqtt.publishAsync(`${root}/x`, `hello ${qos}`, { qos });
    await client.expect(`${root}/x`, `hello ${qos}`, qos, false);
    done.push(`qos ${qos}`);
  }

  const large = "0123456789abcdef".repeat(20000);
  await client.mqtt.publishAsync(`${root}/large`, large, { qos: 1 });
  await client.expect(`${root}/large`, large, 1, false);
  done.push("large");

  const count = 500;
  const sent = [];
  for (let number = 0; number < count; number++) {
    sent.push(client.mqtt.publishAsync(`${root}/many`, `${number}`, { qos: 1 }));
  }
  for (let number = 0; number < count; number++) {
    await client.expect(`${root}/many`, `${number}`, 1, false);
  }
  await Promise.all(sent);
  done.push("many");

  await client.mqtt.publishAsync(`${root}/kept`, "kept", { qos: 1, retain: true });
  await client.expect(`${root}/kept`, "kept", 1, false);
  const late = new Client("b");
  await late.ready;
  await late.mqtt.subscribeAsync(`${root}/kept`, { qos: 1 });
  await late.expect(`${root}/kept`, "kept", 1, true);
  await client.mqtt.publishAsync(`${root}/kept`, "", { qos: 1, retain: true });
  await client.expect(`${root}/kept`, "", 1, false);
  done.push("retained");

  const lost = new Client("c", { will: { topic: `${root}/will`, payload: "gone", qos: 1, retain: false } });
  await lost.ready;
  lost.mqtt.end(true);
  await client.expect(`${root}/will`, "gone", 1, false);
  done.push("will");

  await client.mqtt.unsubscribeAsync(`${root}/+`);
  await late.mqtt.endAsync();
  await client.mqtt.endAsync();
  done.push("end");
}

function report(error) {
  fetch("/result", { method: "POST", body: JSON.stringify({ done, error }) });
}

round().then(
  () => report(null),
  (fault) => report(String(fault && fault.stack || fault)),
);

/** The player in Node: `node node.js URL ROOM SECONDS NAME`. */

import WebSocket from "ws";

import { play } from "./play.js";

const [url, room, seconds, name] = process.argv.slice(2) as [string, string, string, string];
const print = (line: object) => console.log(JSON.stringify(line));
const fail = (error: unknown) => {
  print({ error: String(error) });
  process.exit(1);
};
setTimeout(() => fail(`not done in ${seconds} s`), Number(seconds) * 1000).unref();
await play(url, room, name, print, { socket: (url, protocol) => new WebSocket(url, protocol) }).catch(fail);

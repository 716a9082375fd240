// Runs the WebGL plugin as Unity's loader does: its functions see a heap, texts in it, and a WebSocket.

import assert from "node:assert";
import { readFileSync } from "node:fs";

const heap = new Uint8Array(1024);
const library = {};
const sockets = [];

class FakeSocket {
  readyState = 0;
  sent = [];
  constructor(url, protocol) {
    if (url === "bad") throw new SyntaxError("invalid address");
    this.url = url;
    this.protocol = protocol;
    sockets.push(this);
  }
  send(data) {
    this.sent.push(data);
  }
  close(code, reason) {
    this.closed = [code, reason];
  }
}

const texts = ["", "ws://home/", "tickwire.1", "bad", "done"];
const source = readFileSync(process.argv[2], "utf8");
const names = ["mergeInto", "LibraryManager", "UTF8ToString", "HEAPU8", "WebSocket", "console"];
const quiet = { error: () => undefined };
new Function(...names, `${source}`)(
  (target, functions) => Object.assign(target, functions),
  { library },
  (pointer) => texts[pointer],
  heap,
  FakeSocket,
  quiet,
);
// The loader makes `$TickwireSockets` a variable that the functions see.
const scope = new Function("TickwireSockets", ...names.slice(2), `
  const library = {};
  const mergeInto = (target, functions) => Object.assign(target, functions);
  const LibraryManager = { library };
  ${source}
  return library;
`);
const plugin = scope(library.$TickwireSockets, (pointer) => texts[pointer], heap, FakeSocket, quiet);
for (const name of Object.keys(plugin).filter((key) => !key.startsWith("$") && !key.endsWith("__deps"))) {
  assert.deepEqual(plugin[`${name}__deps`], ["$TickwireSockets"], `${name} needs the variable`);
}

const id = plugin.TickwireSocketOpen(1, 2);
const [socket] = sockets;
assert.deepEqual([socket.url, socket.protocol, socket.binaryType], ["ws://home/", "tickwire.1", "arraybuffer"]);
assert.equal(plugin.TickwireSocketState(id), 0);
plugin.TickwireSocketSend(id, 0, 0, 4);
assert.equal(socket.sent.length, 0, "nothing is sent before the connection is open");
socket.readyState = 1;
socket.onopen();
assert.equal(plugin.TickwireSocketState(id), 1);

heap.set([1, 2, 3, 4, 5], 100);
plugin.TickwireSocketSend(id, 100, 1, 3);
heap.fill(0);
assert.deepEqual([...socket.sent[0]], [2, 3, 4], "a copy of the slice, as binary");

assert.equal(plugin.TickwireSocketNextSize(id), -1);
socket.onmessage({ data: new Uint8Array([7, 8]).buffer });
socket.onmessage({ data: "text" });
assert.equal(plugin.TickwireSocketNextSize(id), 2);
plugin.TickwireSocketRead(id, 50);
assert.deepEqual([...heap.slice(49, 53)], [0, 7, 8, 0]);
assert.equal(plugin.TickwireSocketNextSize(id), 0, "a text is an empty message");
plugin.TickwireSocketRead(id, 50);

socket.onclose({ code: 4003 });
assert.deepEqual([plugin.TickwireSocketState(id), plugin.TickwireSocketCloseCode(id)], [3, 4003]);
plugin.TickwireSocketClose(id, 1001, 4);
assert.deepEqual(socket.closed, [4000, "done"], "browsers allow no 1001");
plugin.TickwireSocketClose(id, 1000, 4);

const failed = plugin.TickwireSocketOpen(1, 2);
sockets[1].onclose({ code: 1006 });
assert.equal(plugin.TickwireSocketState(failed), 2);
plugin.TickwireSocketClose(failed, 1000, 0);
assert.deepEqual(sockets[1].closed, [1000, ""]);
const invalid = plugin.TickwireSocketOpen(3, 2);
assert.equal(plugin.TickwireSocketState(invalid), 2);
plugin.TickwireSocketClose(invalid, 1000, 0);
process.stdout.write("ok\n");

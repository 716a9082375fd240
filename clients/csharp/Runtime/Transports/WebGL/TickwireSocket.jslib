// The browser's WebSocket for Unity's WebGL players: binary frames. C# polls, so that no callback crosses the border.

mergeInto(LibraryManager.library, {
  $TickwireSockets: { list: [], next: 1 },

  TickwireSocketOpen: function (url, protocol) {
    var entry = { socket: null, state: 0, code: 0, messages: [] };
    var id = TickwireSockets.next++;
    TickwireSockets.list[id] = entry;
    try {
      entry.socket = new WebSocket(UTF8ToString(url), UTF8ToString(protocol));
    } catch (error) {
      console.error(error);
      entry.state = 2;
      return id;
    }
    entry.socket.binaryType = "arraybuffer";
    entry.socket.onopen = function () { entry.state = 1; };
    entry.socket.onmessage = function (event) {
      // A text message breaks the protocol: an empty message cannot be decoded, and ends the session.
      entry.messages.push(typeof event.data === "string" ? new Uint8Array(0) : new Uint8Array(event.data));
    };
    entry.socket.onclose = function (event) {
      entry.code = event.code;
      entry.state = entry.state === 1 ? 3 : 2;
    };
    return id;
  },
  TickwireSocketOpen__deps: ["$TickwireSockets"],

  // 0: connecting, 1: open, 2: could not be opened, 3: ended
  TickwireSocketState: function (id) { return TickwireSockets.list[id].state; },
  TickwireSocketState__deps: ["$TickwireSockets"],

  TickwireSocketCloseCode: function (id) { return TickwireSockets.list[id].code; },
  TickwireSocketCloseCode__deps: ["$TickwireSockets"],

  // The size of the next message; -1 without one.
  TickwireSocketNextSize: function (id) {
    var messages = TickwireSockets.list[id].messages;
    return messages.length ? messages[0].length : -1;
  },
  TickwireSocketNextSize__deps: ["$TickwireSockets"],

  TickwireSocketRead: function (id, buffer) { HEAPU8.set(TickwireSockets.list[id].messages.shift(), buffer); },
  TickwireSocketRead__deps: ["$TickwireSockets"],

  TickwireSocketSend: function (id, buffer, offset, count) {
    var socket = TickwireSockets.list[id].socket;
    if (socket.readyState === 1) socket.send(HEAPU8.slice(buffer + offset, buffer + offset + count));
  },
  TickwireSocketSend__deps: ["$TickwireSockets"],

  TickwireSocketClose: function (id, code, reason) {
    var entry = TickwireSockets.list[id];
    delete TickwireSockets.list[id];
    if (!entry || !entry.socket) return;
    entry.socket.onopen = entry.socket.onmessage = entry.socket.onclose = null;
    // Browsers allow 1000 and 3000 to 4999.
    entry.socket.close(code === 1000 || code >= 3000 ? code : 4000, UTF8ToString(reason));
  },
  TickwireSocketClose__deps: ["$TickwireSockets"]
});
